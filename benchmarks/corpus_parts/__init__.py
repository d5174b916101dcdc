"""What `corpus.py` compares with, and what it measures with made-up videos."""
