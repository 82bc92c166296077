"""Files through which the server's processes communicate."""
