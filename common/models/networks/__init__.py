"""Networks written here, one file each: ours for small images, and one with published weights."""
