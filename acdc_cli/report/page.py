"""report.html: one self-contained page of a finished run, from its records alone."""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template
from typing import Any

from acdc_cli.records.files import replace_text
from acdc_cli.records.folder import RunFolder
from acdc_cli.records.headline import headline_of
from acdc_cli.report import figures

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
  :root { --ink: #1d2733; --muted: #6b7785; --line: #e0e5ea; --dense: #2f6fb0; --sparse: #c8641e; }
  body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: #f6f8fa; margin: 0; }
  main { max-width: 1000px; margin: 0 auto; padding: 28px 20px 60px; }
  h1 { font-size: 22px; margin: 0; overflow-wrap: anywhere; }
  .subtitle { color: var(--muted); margin: 2px 0 20px; }
  .cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(148px, 1fr)); gap: 12px; margin-bottom: 16px; }
  .card, figure, details { background: #fff; border: 1px solid var(--line); border-radius: 8px; }
  .card { padding: 12px 14px; }
  .card b { display: block; font-size: 24px; line-height: 1.25; font-variant-numeric: tabular-nums; }
  .card span { color: var(--muted); font-size: 13px; }
  .card.sparse b { color: var(--sparse); } .card.dense b { color: var(--dense); }
  .halves { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 12px; }
  figure { margin: 0 0 12px; padding: 10px; } .halves figure { margin: 0; }
  figure svg { width: 100%; height: auto; display: block; }
  .halves { margin-bottom: 12px; }
  details { padding: 10px 14px; margin-bottom: 12px; }
  summary { cursor: pointer; font-weight: 600; }
  table { border-collapse: collapse; width: 100%; font-size: 13px; margin-top: 8px; }
  td { padding: 3px 8px 3px 0; border-top: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
  td:first-child { color: var(--muted); width: 34%; }
  pre { font-size: 12px; overflow-x: auto; }
</style>
</head>
<body><main>
<h1>$title</h1>
<p class="subtitle">$subtitle</p>
<div class="cards">$cards</div>
<figure>$accuracy</figure>
<div class="halves">$halves</div>
$layers
<p class="subtitle">FLOPs: convolution and linear layers only, a multiply-add is 2, zero weights cost nothing. A sparse
phase costs 3f a sample, a dense one 2f + F, with F the dense and f the current forward cost (AC/DC, appendix C.2).</p>
<details><summary>Result</summary><table>$result</table></details>
<details><summary>Config</summary><pre>$config</pre></details>
</main></body></html>
""")


def write_page(folder: RunFolder) -> None:
    """Write report.html from result.json, metrics.jsonl and config.yaml. Raises BadInput before the run is done."""
    result = folder.read_result()
    headline = headline_of(result)
    rows = folder.read_curves(headline)
    halves, layers = [figures.loss_figure(rows), figures.flops_figure(rows, result["dense_inference_flops"])], ""
    if result["sparse"] is not None:
        halves.append(figures.sparsity_figure(rows))
        drawn = {
            "mask_change": figures.mask_change_figure,
            "stayed_zero": figures.stayed_zero_figure,
            "dead_channels": figures.dead_channels_figure,
        }
        # Without a panel for what a run does not have, or, being older, did not record.
        halves += [draw(rows) for key, draw in drawn.items() if any(row.get(key) is not None for row in rows)]
        layers = f"<figure>{figures.layer_figure(result['layer_sparsity'], result['sparsity'])}</figure>"
    page = PAGE.substitute(
        title=escape(folder.path.name),
        subtitle=escape(_subtitle(result)),
        cards=_cards(result),
        accuracy=figures.headline_figure(rows, headline),
        halves="".join(f"<figure>{svg}</figure>" for svg in halves),
        layers=layers,
        result="".join(f"<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>" for key, value in _flat(result)),
        config=escape(folder.read_config_text()),
    )
    replace_text(folder.report, page)


def _subtitle(result: dict[str, Any]) -> str:
    begun = f", from {Path(result['started_from']).name}" if result.get("started_from") else ""
    return (
        f"{result['model']} on {result['dataset']}, method {result['method']}{begun}, {result['epochs']} epochs, "
        f"seed {result['seed']}, {result['seconds']:.0f} s on {result['device']}"
    )


def _cards(result: dict[str, Any]) -> str:
    cards, headline = [], headline_of(result)
    for kind in ("sparse", "dense"):
        if result[kind] is not None:
            cards.append((kind, headline.text(result[kind][headline.val_key]), f"{headline.name} of the {kind} model"))
    cards.append(("", f"{result['sparsity']:.2%}", f"of {result['prunable_weights']:,} weights are zero"))
    kind = "sparse" if result["sparse"] is not None else "dense"
    cards.append(("", f"{result[kind]['inference_flops_fraction']:.3f}", "inference FLOPs, of dense"))
    whose = "training FLOPs, of dense" + (", the run before included" if result.get("finetuned") else "")
    cards.append(("", f"{result['train_flops_fraction']:.3f}", whose))
    if result["agreement"] is not None:
        cards.append(("", f"{result['agreement']['top1']:.4f}", "of samples: both models agree"))
    return "".join(f'<div class="card {kind}"><b>{value}</b><span>{text}</span></div>' for kind, value, text in cards)


def _flat(node: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for key, value in node.items():
        if isinstance(value, dict):
            flat += _flat(value, f"{prefix}{key}.")
        else:
            flat.append((prefix + key, "–" if value is None else str(value)))
    return flat
