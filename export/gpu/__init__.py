"""onnxruntime on NVIDIA GPUs: half precision where it holds, checked as far as the machine goes."""
