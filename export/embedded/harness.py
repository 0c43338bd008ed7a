"""C programs around a generated model: from a file of inputs to a file of outputs."""

from __future__ import annotations

from collections.abc import Sequence

from automl.export.embedded.codegen import Argument

HOST = """/* Reads inputs from standard input, one after the other, and writes outputs. */
#include <stdio.h>
#include <time.h>
#include "model.h"
{buffers}
int main(int count, char **words) {{
  struct timespec a, b;
  FILE *times = count > 1 ? fopen(words[1], "w") : 0;
  while ({reads}) {{
    clock_gettime(CLOCK_MONOTONIC, &a);
    model({call});
    clock_gettime(CLOCK_MONOTONIC, &b);
    if (times) fprintf(times, "%f\\n", (b.tv_sec - a.tv_sec) * 1e6 + (b.tv_nsec - a.tv_nsec) / 1e3);
    {writes}
  }}
  if (times) fclose(times);
  return 0;
}}
"""
BOARD = """/* The same on a microcontroller: files through semihosting, time from a 25 MHz timer. */
#include <stdio.h>
#include <string.h>
#include "model.h"
{buffers}
extern unsigned char end_of_data[], stack_top[];
#define TIMER ((volatile unsigned *)0x40000000)
#define PAINT 0xA5

static unsigned run(void) {{
  unsigned before = TIMER[1];
  model({call});
  return before - TIMER[1];
}}

static void __attribute__((noinline)) paint(void) {{
  unsigned char *low = end_of_data + 65536, *here = __builtin_frame_address(0);
  memset(low, PAINT, here - 64 - low);
}}

int main(void) {{
  FILE *from = fopen("input.bin", "rb"), *into = fopen("output.bin", "wb");
  unsigned ticks = 0, most = 0;
  TIMER[0] = 0; TIMER[2] = 0xFFFFFFFFu; TIMER[1] = 0xFFFFFFFFu; TIMER[0] = 1;
  unsigned char *base = __builtin_frame_address(0);
  while ({reads}) {{
    paint();
    ticks = run();
    unsigned char *low = end_of_data + 65536;
    while (low < base && *low == PAINT) low++;
    if ((unsigned)(base - low) > most) most = base - low;
    {writes}
  }}
  FILE *told = fopen("told.txt", "w");
  fprintf(told, "ticks %u\\nstack %u\\n", ticks, most);
  fclose(told); fclose(into); fclose(from);
  return 0;
}}
"""
STARTUP = """/* Vectors and start of a Cortex-M: memory, floating-point unit, semihosting, main. */
#include <string.h>
extern unsigned char data_start[], data_end[], data_load[], bss_start[], bss_end[], stack_top[];
extern void initialise_monitor_handles(void);
extern int main(void);
extern void exit(int);
void reset(void);
static void halt(void) { exit(3); }
__attribute__((section(".vectors"), used)) void *const vectors[16] = {
  stack_top, (void *)reset, halt, halt, halt, halt, halt, 0, 0, 0, 0, halt, halt, 0, halt, halt};
void reset(void) {
  memcpy(data_start, data_load, data_end - data_start);
  memset(bss_start, 0, bss_end - bss_start);
#ifdef __ARM_FP
  *(volatile unsigned *)0xE000ED88 |= 0xF << 20;
  __asm volatile("dsb; isb");
#endif
  initialise_monitor_handles();
  exit(main());
}
"""
LINKER = """MEMORY {
  FLASH (rx) : ORIGIN = 0, LENGTH = 4M
  RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 4M
}
ENTRY(reset)
SECTIONS {
  .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) *(.ARM.extab*) . = ALIGN(8); } > FLASH
  .ARM.exidx : { *(.ARM.exidx*) . = ALIGN(8); } > FLASH
  data_load = LOADADDR(.data);
  .data : { data_start = .; *(.data*) . = ALIGN(8); data_end = .; } > RAM AT > FLASH
  .bss : { bss_start = .; *(.bss*) *(COMMON) . = ALIGN(8); bss_end = .; } > RAM
  end_of_data = .; end = .;
  stack_top = ORIGIN(RAM) + LENGTH(RAM);
}
"""
EXAMPLE = """/* A call of the model: fill the inputs, read the outputs. */
#include "model.h"
{buffers}
int main(void) {{
  model({call});
  return 0;
}}
"""


def filled(
    template: str, arguments: Sequence[Argument], source: str = "stdin", into: str = "stdout"
) -> str:
    """A program for these arguments."""
    buffers = "\n".join(
        f"static {one.kind} {one.name}{''.join(f'[{size}]' for size in one.shape)};"
        for one in arguments
    )
    reads = " && ".join(
        f"fread({one.name}, sizeof {one.name}, 1, {source}) == 1" for one in arguments if one.given
    )
    writes = " ".join(
        f"fwrite({one.name}, sizeof {one.name}, 1, {into});" for one in arguments if not one.given
    )
    call = ", ".join(one.name for one in arguments)
    return template.format(buffers=buffers, reads=reads, writes=writes, call=call)


def host(arguments: Sequence[Argument]) -> str:
    """A program for Linux."""
    return filled(HOST, arguments)


def board(arguments: Sequence[Argument]) -> str:
    """A program for a Cortex-M with semihosting."""
    return filled(BOARD, arguments, "from", "into")


def example(arguments: Sequence[Argument]) -> str:
    """The least program that calls the model."""
    return filled(EXAMPLE, arguments)
