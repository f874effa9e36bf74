"""The detectors there are: mapgap's own, and those of other distributions.

A distribution offers a detector by an entry point of the group "mapgap.detectors" that leads to a `Plugin`:

    [options.entry_points]
    mapgap.detectors =
        pool = mapgap_pools:PLUGIN

From then on [detectors.pool] is a table of config.toml, and what it claims goes everywhere that claims go. Nothing here
imports a detector's own module before it is asked for its detector, so that a configuration is read quickly.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detectors.catalogue import Kind, read_kinds
from detectors.errors import PluginInvalid
from detectors.settings import BuildingSettings, DensitySettings, LandcoverSettings, RoadSettings

if TYPE_CHECKING:
    from detectors.base import Detector

GROUP = "mapgap.detectors"
#: Where mapgap's own detectors keep what they tell people.
CATALOGUE = Path(__file__).parent / "catalogue"
_NAME = re.compile(r"[a-z][a-z0-9_]{1,30}")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One detector, as the daemon is told of it.

    Attributes:
        name: as in [detectors.<name>]; equal to `Detector.name`.
        settings: frozen dataclass of the knobs (`detectors.settings.setting`); its docstring heads the table. A field
            `trust_undated_imagery` is filled in from detectors.unknown_date.
        detector: "module:Class" of the detector, called with the settings.
        catalogue: the TOML file of its kinds and of what people are told of them (`detectors.catalogue`).
        model: the bundle it sees through unless told otherwise: a shipped one's name, or a path. None: it has no
            network, but reads the pixels of `Scene.chip` itself.
        enabled: whether it runs where nobody says anything of it.
        looks: whether it is asked about blocks of imagery. One that is not makes its claims elsewhere (a report), and
            only `holds` is asked of it.
    """

    name: str
    settings: type[Any]
    detector: str
    catalogue: Path
    model: str | None
    enabled: bool = False
    looks: bool = True

    def make(self, *, trust_undated_imagery: bool, **knobs: Any) -> Detector:
        """The detector with these knobs.

        Raises:
            PluginInvalid: its module cannot be imported, or has another name than the plug-in.
        """
        if any(field.name == "trust_undated_imagery" for field in dataclasses.fields(self.settings)):
            knobs["trust_undated_imagery"] = trust_undated_imagery
        module, _, name = self.detector.partition(":")
        try:
            detector = getattr(import_module(module), name)(self.settings(**knobs))
        except Exception as error:
            raise PluginInvalid(f"detector {self.name} ({self.detector}) cannot be made: {error!r}") from error
        if detector.name != self.name:
            raise PluginInvalid(f"plug-in {self.name} makes a detector called {detector.name!r}; the names must agree")
        return detector

    def kinds(self) -> Mapping[str, Kind]:
        """Its kinds of claims by name.

        Raises:
            PluginInvalid: its catalogue is none.
        """
        return read_kinds(self.catalogue)


@dataclass(frozen=True, slots=True)
class Registry:
    """What is installed.

    Attributes:
        plugins: by name; mapgap's own first.
        broken: name of an entry point -> why it gives no plug-in.
    """

    plugins: Mapping[str, Plugin]
    broken: Mapping[str, str]

    def kinds(self) -> dict[tuple[str, str], Kind]:
        """(detector, kind) -> what people are told of it, for all detectors there are."""
        return {(plugin.name, kind): it for plugin in self.plugins.values() for kind, it in plugin.kinds().items()}


OWN = (
    Plugin("building", BuildingSettings, "detectors.building:BuildingDetector", CATALOGUE / "building.toml",
           model="building", enabled=True),
    Plugin("road", RoadSettings, "detectors.road:RoadDetector", CATALOGUE / "road.toml", model="road"),
    Plugin("landcover", LandcoverSettings, "detectors.landcover:LandcoverDetector", CATALOGUE / "landcover.toml",
           model="landcover"),
    Plugin("density", DensitySettings, "detectors.density:DensityDetector", CATALOGUE / "density.toml",
           model=None, looks=False),
)


@cache
def registry() -> Registry:
    """What is installed. One that cannot be loaded is told of by name, and does not keep the others from working."""
    plugins, broken = {plugin.name: plugin for plugin in OWN}, {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            plugins[entry.name] = _checked(entry.name, entry.load(), plugins)
        except Exception as error:  # somebody else's code: whatever it raises, the daemon must be able to say so
            broken[entry.name] = f"{entry.value}: {error!r}" if not isinstance(error, PluginInvalid) else str(error)
    return Registry(plugins, broken)


def _checked(name: str, plugin: Any, others: Mapping[str, Plugin]) -> Plugin:
    if not isinstance(plugin, Plugin):
        raise PluginInvalid(f"entry point {name} of {GROUP} leads to {plugin!r}, not to a detectors.registry.Plugin")
    if plugin.name != name or not _NAME.fullmatch(name):
        raise PluginInvalid(f"entry point {name} leads to plug-in {plugin.name!r}; both must be one name in a-z0-9_")
    if name in others:
        raise PluginInvalid(f"there is a detector {name} already; a plug-in needs a name of its own")
    if not (dataclasses.is_dataclass(plugin.settings) and plugin.settings.__dataclass_params__.frozen):
        raise PluginInvalid(f"plug-in {name}: its settings are no frozen dataclass")
    taken = {kind.number: who for who, other in others.items() for kind in other.kinds().values()}
    for kind in plugin.kinds().values():
        if kind.number in taken:
            raise PluginInvalid(
                f"plug-in {name}: class {kind.number} of kind {kind.name!r} is taken by {taken[kind.number]}; each "
                "kind needs a number of its own"
            )
    return plugin
