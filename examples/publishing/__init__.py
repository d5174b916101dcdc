"""What is put on the Hub, and how: `staging.py` and `hub.py`. For `publish.py`, and for `--push_to_hub` of others."""
