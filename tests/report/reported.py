"""An experiment to report on, with names that no page should take literally."""

from typer.testing import CliRunner

from bros_sim.cli import app

EVIL = "</script><script>window.hacked=1</script>"
IMAGE = "<img src=x onerror='window.hacked=2'> & \"q\""
EXPERIMENT = f"""\
name: shown
seed: 3
duration_s: 3
drain_s: 60
cluster: {{profile: a100-80gb/llama-3-8b-tp1}}
workload:
  chat:
    class: rt
    arrivals: {{kind: poisson, rate_rps: 4}}
    lengths: {{kind: fixed, prompt: 300, output: 30}}
    slo: {{ttft_s: 0.1, tpot_s: 0.02}}
  batch:
    class: be
    arrivals: {{kind: closed_loop, clients: 8}}
    lengths: {{kind: uniform, prompt: [256, 512], output: [16, 64]}}
systems:
  '{EVIL}': {{scheduler: {{kind: vllm}}, kv: {{kind: paged}}}}
  '{IMAGE.replace("'", "''")}': {{scheduler: {{kind: bros}}, kv: {{kind: bidirectional}}}}
sweep:
  grid:
    workload.chat.arrivals.rate_rps: [4, 16]
    workload.chat.slo.ttft_s: [0.05, 0.1]
  seeds: 2
"""


def finish(folder, text):
    """Run an experiment; its folder."""
    path = folder / "experiment.yaml"
    path.write_text(text)
    line = ["run", str(path), "--workers", "1", "--out", str(folder / "results")]
    result = CliRunner().invoke(app, line)
    assert result.exit_code in {0, 1}, result.output
    (made,) = (folder / "results").iterdir()
    return made
