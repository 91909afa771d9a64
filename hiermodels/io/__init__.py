"""Files: netCDF, Parquet and Zarr."""
