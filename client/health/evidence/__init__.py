"""The facts that the checks judge: photos, machine, server and labels."""
