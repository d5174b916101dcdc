"""The parts of the page of `examples/app.py`: what is watched, what is asked, how it is drawn, what is allowed."""

import os

# Before Gradio is imported: nothing is told to anybody.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
