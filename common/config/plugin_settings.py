"""The own settings of strategies that installed packages bring."""

from fedshelf.common import plugins
from fedshelf.common.config.field_types import StrategySettings
from fedshelf.common.config.strategy_settings import StrategyConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.suggest import did_you_mean


def unknown_strategy(name: str) -> ConfigError:
    """Return the error for a strategy that neither Fedshelf nor an installed package has."""
    known = [*StrategyConfig.built_in, *plugins.plugin_names(plugins.STRATEGY)]
    return ConfigError(
        f"Setting strategy.name got {name!r}; allowed: {', '.join(known)}, or one of a package that"
        f" is installed here.{did_you_mean(name, known)}"
    )


def plugin_settings(strategy: str) -> type[StrategySettings]:
    """Return the class of the own settings of a plug-in.

    It has no fields if `strategy` is Fedshelf's own, whose settings `StrategyConfig` has, or is
    not known: then it is refused when the run's strategy is built.

    Raises:
        ConfigError: the plug-in cannot be imported, or one of its settings means something else
            than Fedshelf's of the same name.
    """
    if strategy in StrategyConfig.built_in:
        return StrategySettings
    found = plugins.find_plugin(plugins.STRATEGY, strategy, StrategyConfig.built_in)
    if (settings_class := getattr(found, "settings_class", None)) is None:
        return StrategySettings
    own: type[StrategySettings] = settings_class()
    for name, field in own.model_fields.items():
        known = StrategyConfig.model_fields.get(name)
        if known and (known.annotation, known.default) != (field.annotation, field.default):
            raise ConfigError(
                f"The plug-in strategy {strategy} declares a setting {name} that differs from"
                " Fedshelf's; let it inherit the setting from Fedshelf's class, or give the"
                " setting another name."
            )
    return own
