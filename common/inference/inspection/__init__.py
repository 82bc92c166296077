"""Quality checks by embeddings: pieces unlike the good ones, and the kind of their defect."""
