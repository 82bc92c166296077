"""Codecs that send updates in fewer bytes, by name.

To add one, write a file beside this one and a line in CODECS.

A store's change of the weights travels. The part that a message leaves out is added to the store's
next one (error feedback): Seide et al.: 1-Bit Stochastic Gradient Descent. Interspeech 2014;
Karimireddy et al.: Error Feedback Fixes SignSGD. ICML 2019, Algorithm 2.
"""

from collections.abc import Mapping

from fedshelf.common.compression.base import Codec
from fedshelf.common.compression.fp16 import HalfPrecision
from fedshelf.common.compression.int8 import Int8
from fedshelf.common.compression.top_k import TopK
from fedshelf.common.config import MessagesConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.suggest import did_you_mean

NONE = "none"

CODECS: Mapping[str, type[Codec]] = {
    "fp16": HalfPrecision,
    "int8": Int8,
    "top-k": TopK,
}


def build(config: MessagesConfig) -> Codec | None:
    """Return the codec that `config` names, or None for none.

    Raises:
        ConfigError: the name is unknown, or the codec does not use a setting that was given.
    """
    name = config.compression
    if name != NONE and name not in CODECS:
        hint = did_you_mean(name, CODECS)
        raise ConfigError(
            f"Setting messages.compression got {name!r}; allowed: {NONE},"
            f" {', '.join(CODECS)}.{hint}"
        )
    codec_class = CODECS.get(name)
    used = {"compression"} | (codec_class.settings_used() if codec_class else set())
    for key, field in MessagesConfig.model_fields.items():
        if key not in used and getattr(config, key) != field.default:
            users = [other for other, codec in CODECS.items() if key in codec.settings_used()]
            raise ConfigError(
                f"Setting messages.{key} got {getattr(config, key)!r}, but compression {name} does"
                f" not use it; it is for {', '.join(users)}."
            )
    return codec_class(config) if codec_class else None


__all__ = ["CODECS", "Codec", "build"]
