"""A configuration as the commented file that says exactly the same."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from daemon.sections import Config, Imagery, Section


def render(config: Config) -> str:
    """The commented config.toml that says exactly what `config` says; knobs left at None stand commented out."""
    lines = ["# " + (Config.__doc__ or "").strip(), ""]
    lines += _render_knobs(config)
    for name in Config.model_fields:
        value = getattr(config, name)
        if isinstance(value, Section):
            lines += _render_section(name, value)
        elif name == "imagery":
            for i, source in enumerate(value):
                lines += ["", *(f"# {d}" for d in [Imagery.__doc__] if i == 0), "[[imagery]]", *_render_knobs(source)]
    return "\n".join(lines) + "\n"


def _render_section(path: str, section: Section) -> list[str]:
    lines = ["", f"# {' '.join((type(section).__doc__ or '').split())}", f"[{path}]", *_render_knobs(section)]
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            lines += _render_section(f"{path}.{name}", value)
    return lines


def _render_knobs(section: Section) -> list[str]:
    lines = []
    for name, info in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section) or name == "imagery":
            continue
        extra = info.json_schema_extra
        unit = f" ({extra['unit']})" if isinstance(extra, dict) else ""
        shown = f"# {name} =" if value is None else f"{name} = {_toml(value)}"
        comment = f"{info.description}{unit}"
        if not info.is_required() and value is not None and info.default not in (value, ""):
            comment += f"; default {_toml(info.default) if info.default is not None else 'none'}"
        lines.append(f"{shown:<34} # {comment}")
    return lines


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
