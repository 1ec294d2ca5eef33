"""What the shell is offered to complete event names with."""

from traceleft.errors import TraceleftError


def event_names() -> list[str]:
    """Return names of events and ``%class`` names: a found battery's, else all that the data of the generator name."""
    from traceleft.generator.classes import load_classes

    names = battery_names() or set().union(*load_classes().values())
    return [*sorted(names), *sorted(f"%{name}" for name in load_classes())]


def battery_names() -> set[str]:
    """Return the events of the battery that a trace would use, with their other names; none without one."""
    from traceleft.cli.batteries import candidates, catalogue_of

    try:
        battery = next(candidates(), None)
        catalogue = catalogue_of(battery) if battery else None
    except TraceleftError:
        return set()
    return (
        {*catalogue.names, *(other for others in catalogue.aliases.values() for other in others)}
        if catalogue
        else set()
    )
