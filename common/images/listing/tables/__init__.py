"""CSV files of photos, as spreadsheets, pandas and people write them.

`common.system.csv_text` reads characters and cells, `columns` finds their meaning, `rows` makes
rows of photos.
"""

from fedshelf.common.images.listing.tables.rows import Table, TableRow, read_table

__all__ = ["Table", "TableRow", "read_table"]
