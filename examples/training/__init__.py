"""
The rooms of `pretrain.py`: `options` (what can be chosen), `material` (rows and processor), `batches` (which examples
come when), `steps` (one step, one evaluation), `checkpoints` (whole or absent, without pickle), `watching` (progress
and figures) and `loop`, which needs them all.
"""
