"""Write report.html, one self-contained page about a finished run, from its records alone."""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template
from typing import Any

from acdc_cli.records.checksums import REMEDY
from acdc_cli.records.files import Damaged
from acdc_cli.records.folder import RunFolder
from acdc_cli.records.headline import headline_of
from acdc_cli.records.run_result import RunResult, final_model, model_metric, model_of
from acdc_cli.system.files import replace_text
from acdc_cli.system.nested import leaves

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
<p class="subtitle">FLOPs count the weights of layers only. A multiply-add is 2 FLOPs, and zero weights cost nothing.
With F the forward cost of the dense model and f that of the current one, AC/DC costs 3f per sample in a sparse phase
and 2f + F in a dense phase (AC/DC, appendix C.2).</p>
<details><summary>Result</summary><table>$result</table></details>
<details><summary>Config</summary><pre>$config</pre></details>
</main></body></html>
""")


def write_page(folder: RunFolder) -> None:
    """Write report.html from result.json, metrics.jsonl and config.yaml. Raises BadInput before the run is done."""
    from acdc_cli.report import figures  # matplotlib takes a second, and a run draws at its end alone

    result = folder.read_result()
    headline = headline_of(result)
    if not (rows := folder.read_curves(headline)):
        raise Damaged(folder.metrics, "no epochs in it", REMEDY)
    halves, layers = [figures.loss_figure(rows), figures.flops_figure(rows, result["dense_inference_flops"])], ""
    if result["sparse"] is not None:
        halves.append(figures.sparsity_figure(rows))
        drawn = {
            "mask_change": figures.mask_change_figure,
            "stayed_zero": figures.stayed_zero_figure,
            "dead_channels": figures.dead_channels_figure,
        }
        # A quantity has no panel if the run does not have it, or if an older version did not record it.
        halves += [draw(rows) for key, draw in drawn.items() if any(row.get(key) is not None for row in rows)]
        layers = f"<figure>{figures.layer_figure(result['layer_sparsity'], result['sparsity'])}</figure>"
    page = PAGE.substitute(
        title=escape(folder.path.name),
        subtitle=escape(_subtitle(result)),
        cards=_cards(result),
        accuracy=figures.headline_figure(rows, headline),
        halves="".join(f"<figure>{svg}</figure>" for svg in halves),
        layers=layers,
        result="".join(f"<tr><td>{escape(key)}</td><td>{_cell(value)}</td></tr>" for key, value in leaves(result)),
        config=escape(folder.read_config_text()),
    )
    replace_text(folder.report, page)


def _subtitle(result: RunResult) -> str:
    start = result.get("started_from")
    begun = f", from {Path(start).name}" if start else ""
    return (
        f"{result['model']} on {result['dataset']}, method {result['method']}{begun}, {result['epochs']} epochs, "
        f"seed {result['seed']}, {result['seconds']:.0f} s on {result['device']}"
    )


def _cards(result: RunResult) -> str:
    cards, headline = [], headline_of(result)
    for kind in ("sparse", "dense"):
        if (model := model_of(result, kind)) is not None:
            value = headline.text(model_metric(model, headline.val_key))
            cards.append((kind, value, f"{headline.label} of the {kind} model"))
    cards.append(("", f"{result['sparsity']:.2%}", f"of {result['prunable_weights']:,} weights are zero"))
    cards.append(("", f"{final_model(result)['inference_flops_fraction']:.3f}", "inference FLOPs (fraction of dense)"))
    included = ", previous run included" if result.get("finetuned") else ""
    cards.append(("", f"{result['train_flops_fraction']:.3f}", f"training FLOPs (fraction of dense){included}"))
    if result["agreement"] is not None:
        cards.append(("", f"{result['agreement']['top1']:.4f}", "of samples: same prediction by both models"))
    return "".join(f'<div class="card {kind}"><b>{value}</b><span>{text}</span></div>' for kind, value, text in cards)


def _cell(value: Any) -> str:
    return "–" if value is None else escape(str(value))
