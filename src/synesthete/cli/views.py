"""What people see of an atlas in the terminal: counts with their controls, tables of neurons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from synesthete.cli.console import count, out, percent, say, share, table

if TYPE_CHECKING:
    from synesthete.atlas import Atlas as Atlas
    from synesthete.atlas import Neuron
    from synesthete.report.neuron import NeuronReport, NeuronRow
    from synesthete.reviews import State


def print_summary(atlas: Atlas) -> None:
    """Print what an atlas holds, and the count of multimodal neurons between its two controls."""
    facts = atlas.summary()
    console = out()
    console.print(Text(str(atlas.path), style="bold"), soft_wrap=True)
    rows = table("", "")
    rows.show_header = False
    rows.add_row("model", Text(str(facts["model"])))
    rows.add_row("layers", Text(", ".join(facts["layers"])))
    aside = facts.get("quarantined", 0)
    unread = f" ({count(aside)} set aside, unreadable)" if aside else ""
    rows.add_row("images", f"{count(facts['images'])}{unread}")
    rows.add_row("", Text(_modalities(facts["modalities"])))
    rows.add_row("concepts", count(facts["concepts"]))
    live = facts.get("live_units", facts["units"])
    rows.add_row("units", f"{count(facts['units'])} ({count(facts['units'] - live)} dead)")
    console.print(rows)
    console.print()
    print_counts(atlas)


def print_counts(atlas: Atlas) -> None:
    """Print the three counts that belong together: the model, its random twin, shuffled labels."""
    from synesthete.report.counts import counts_of, rule_of

    facts = atlas.summary()
    console, counts, rule = out(), counts_of(facts), rule_of(atlas)
    if counts is None or rule is None:
        if facts.get("not_tested"):
            console.print(Text(f"{untested_line(facts)}\n"), soft_wrap=True)
        else:
            console.print("not analysed yet: run `synesthete analyze` on it\n", soft_wrap=True)
        return
    right = ("count", "share", "95 % interval", "concepts")
    rows = table("multimodal neurons", *right, right=right)
    for row in counts.rows:
        if row.count is None or row.share is None or row.low is None or row.high is None:
            rows.add_row(row.name, "–", "", "not measured", "")
            continue
        rows.add_row(
            row.name,
            f"{count(row.count)} of {count(counts.units)}",
            percent(row.share),
            f"{percent(row.low)} to {percent(row.high)}",
            "–" if row.concepts is None else count(row.concepts),
        )
    console.print(rows)
    console.print(Text(f"{rule.sentence}\n", style="dim"))


def untested_line(facts: Mapping[str, Any]) -> str:
    """Why nothing is counted as multimodal, and what the atlas shows all the same, in one line."""
    shown = "which images excite a neuron"
    if facts.get("concepts", 0) > 1:
        shown += ", and how well it tells its concept from others in the modalities there are"
    return f"no count of multimodal neurons: {facts['not_tested']}. The atlas shows {shown}"


def reviewed(atlas: Atlas) -> Mapping[str, State]:
    """What people say of the atlas's neurons, by address."""
    from synesthete.reviews import current

    return current(atlas)


def neuron_row(neuron: Neuron, said: Mapping[str, State]) -> dict[str, Any]:
    """A neuron as JSON: what was measured, and under `review` what people say, or null."""
    state = said.get(neuron.address)
    return {**neuron.as_dict(), "review": state.as_dict(neuron.name) if state else None}


def print_neurons(atlas: Atlas, found: Sequence[Neuron], limit: int) -> None:
    """Print a table of neurons, and beneath it the counts with their controls in one line."""
    console = out()
    if not found:
        console.print("no such neuron in this atlas")
    else:
        console.print(_neuron_table(found[:limit], reviewed(atlas)))
        if len(found) > limit:
            console.print(f"… and {count(len(found) - limit)} more (--limit N)", style="dim")
    facts = atlas.summary()
    if facts.get("multimodal") is not None:
        console.print(f"● {controls_line(facts)}\n", style="dim", soft_wrap=True)
    elif facts.get("not_tested"):
        console.print(Text(f"{untested_line(facts)}\n", style="dim"), soft_wrap=True)


def controls_line(facts: Mapping[str, Any]) -> str:
    """The counts that belong together, in one line.

    Examples
    --------
    >>> controls_line({"units": 1024, "multimodal": 147, "multimodal_random_twin": 0})
    'multimodal: 147 of 1,024 units | random twin: 0 | shuffled labels: –'
    """

    def number(key: str) -> str:
        return count(facts[key]) if facts.get(key) is not None else "–"

    return (
        f"multimodal: {number('multimodal')} of {count(facts['units'])} units"
        f" | random twin: {number('multimodal_random_twin')}"
        f" | shuffled labels: {number('multimodal_shuffled')}"
    )


def print_names(notes: Mapping[str, Any]) -> None:
    """Print how many neurons of each layer got a name, between the controls."""
    rows = table(
        "layer", "named", "random twin", "shuffled", "AUC needed", "median AUC", "of unknown"
    )
    for layer, counts in notes["layers"].items():
        twin = counts["named_random_twin"]
        rows.add_row(
            Text(layer),
            f"{count(counts['named'])} of {count(counts['units'])}",
            "not recorded" if twin is None else count(twin),
            count(counts["named_shuffled"]),
            f"{counts['threshold']:.2f}",
            *(
                "–" if counts[key] is None else share(counts[key])
                for key in ("median_auc_named", "median_auc_unknown")
            ),
        )
    out().print(rows)
    made = next(iter(notes["layers"].values()))  # settings are the same for all
    unknown = count(made["words_left_out"])
    left_out = f", {unknown} left out that the model cannot tell apart" if unknown != "0" else ""
    out().print(
        f"{count(made['words'])} words ({made['vocabulary']}{left_out}); chosen on {count(made['images_chosen_on'])} "
        f"images, tested on {count(made['images_tested_on'])} by other artists\n",
        style="dim",
        soft_wrap=True,
    )


def print_families(atlas: Atlas, notes: Mapping[str, Any]) -> None:
    """Print the families of each layer: neurons by name and by images, the controls, an example."""
    right = ("neurons", "by name", "by images", "random twin", "shuffled")
    for layer, counts in notes["layers"].items():
        examples: dict[str, str] = {}
        for neuron in atlas.neurons(layer):
            told = f"{neuron.address} {neuron.name or ''}".strip()
            examples.setdefault(neuron.family, told)
        rows = table("family", *right, "for example", right=right)
        for name, some in counts["families"].items():
            twin = some["random_twin"]
            rows.add_row(
                Text(name),
                count(some["by_name"] + some["by_images"]),
                count(some["by_name"]),
                count(some["by_images"]),
                "–" if twin is None else count(twin),
                count(some["shuffled"]),
                Text(examples.get(name, "")),
            )
        out().print(rows)
        out().print(
            f"{layer}: {count(counts['with_family'])} of {count(counts['units'])} neurons have a family\n",
            style="dim",
        )


def draw_families(notes: Mapping[str, Any], path: Path) -> None:
    """Draw how many neurons each family has, over all layers."""
    from synesthete.report.charts import sum_chart
    from synesthete.report.svg import write_drawing

    total: dict[str, int] = {}
    for counts in notes["layers"].values():
        for name, some in counts["families"].items():
            total[name] = total.get(name, 0) + some["by_name"] + some["by_images"]
    ranked = sorted(total.items(), key=lambda one: -one[1])
    units = sum(counts["units"] for counts in notes["layers"].values())
    drawn = sum_chart(
        "Families of neurons",
        f"of {count(units)} neurons; by tested names, or by whole families of images",
        [("", name, float(number)) for name, number in ranked],
        written=lambda number: count(int(number)),
    )
    say(f"drawn: {write_drawing(drawn, path)}")


def print_report(atlas: Atlas, report: NeuronReport) -> None:
    """Print what is known of one neuron: its row, what the measurements come to, and the controls."""
    console = out()
    console.print(_neuron_table([report.neuron], reviewed(atlas)))
    console.print(Text(report.sentence), soft_wrap=True)
    console.print(f"● {controls_line(atlas.summary())}\n", style="dim", soft_wrap=True)


def _called(neuron: Neuron | NeuronRow, state: State | None) -> str:
    """The concept, a bullet before it where the neuron passes, and the name where that is another.

    A person's name stands above the machine's.
    """
    told = f"{'●' if neuron.multimodal else ' '} {neuron.concept or '–'}"
    if state is not None and state.verdicts:
        return f"{told}: {state.as_dict(neuron.name)['name'] or 'no name'} (reviewed)"
    other = neuron.name and neuron.name.casefold() != neuron.concept.casefold()
    return f"{told}: {neuron.name}" if other else told


def _neuron_table(found: Sequence[Neuron] | Sequence[NeuronRow], said: Mapping[str, State]) -> Any:
    from synesthete.report.columns import in_order
    from synesthete.report.svg import auc, small

    modalities = in_order(modality for neuron in found for modality in neuron.auc)
    right = ("multi-\nmodality", "q", *modalities)
    made = table("address", "concept", *right, right=right)
    for neuron in found:
        made.add_row(
            Text(neuron.address),
            Text(_called(neuron, said.get(neuron.address))),
            auc(neuron.multimodality, 2),
            small(neuron.q),
            *(auc(neuron.auc.get(modality), 2) for modality in modalities),
        )
    return made


def _modalities(modalities: Mapping[str, int] | Sequence[str]) -> str:
    if isinstance(modalities, Mapping):
        return ", ".join(f"{name} {count(number)}" for name, number in modalities.items())
    return ", ".join(modalities)
