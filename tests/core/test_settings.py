from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl.core.errors import ConfigError
from automl.core.settings import Settings, setting


@dataclass(frozen=True)
class Config(Settings):
    hidden: int = setting(64, low=1, high=512, unit="units")
    lr: float = setting(0.1, low=1e-6, high=10)
    cell: str = setting("lstm", choices=("lstm", "gru"))
    bias: bool = setting(True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hidden": 0}, "hidden=0 must be at least 1 units"),
        ({"hidden": 513}, "hidden=513 must be at most 512 units"),
        ({"hidden": 1.5}, "hidden=1.5 must be an integer"),
        ({"hidden": True}, "hidden=True must be an integer"),
        ({"lr": float("nan")}, "lr=nan must be finite"),
        ({"lr": "fast"}, "lr='fast' must be a number"),
        ({"cell": "lstmm"}, "cell='lstmm' must be one of lstm, gru. Did you mean 'lstm'?"),
        ({"hiden": 3}, "no setting named 'hiden'. Did you mean 'hidden'?"),
    ],
)
def test_a_bad_value_is_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Config.from_dict(values)
    assert message in str(error.value)


def test_command_line_texts_become_the_declared_types() -> None:
    config = Config().updated(["hidden=1e2", "lr=1", "cell=gru", "bias=False"])
    assert config == Config(hidden=100, lr=1.0, cell="gru", bias=False)
    assert type(config.lr) is float


@pytest.mark.parametrize("text", ["hidden", "hidden=many", "hidden=0", "nothing=1"])
def test_bad_command_line_texts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=text.partition("=")[0]):
        Config().updated([text])


@given(st.integers(1, 512), st.floats(1e-6, 10), st.sampled_from(["lstm", "gru"]), st.booleans())
def test_settings_survive_a_round_trip(hidden: int, lr: float, cell: str, bias: bool) -> None:
    config = Config(hidden, lr, cell, bias)
    assert Config.from_dict(config.to_dict()) == config
    texts = [f"{name}={value}" for name, value in config.to_dict().items()]
    assert Config().updated(texts) == config
