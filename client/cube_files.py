"""Cubes as files: NetCDF and Zarr by the CF conventions, written in one piece or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segwatch.client.errors import BadRequest
from segwatch.client.extras import require_analysis
from segwatch.flows.errors import ConfigError
from segwatch.flows.export.places import write_whole

if TYPE_CHECKING:
    import xarray as xr

_NETCDF, _ZARR = frozenset({".nc", ".nc4"}), frozenset({".zarr"})
#: Threads that read windows at the same time; the memory is that of so many chunks.
_MAX_THREADS = 8
#: zlib is the compression that every reader of NetCDF knows.
_COMPRESSION = {"zlib": True, "complevel": 4}


def write_cube(cube: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """Read what the cube holds chunk by chunk and write it to a file; memory follows the chunks, not the cube.

    The file appears when it is complete, in place of an earlier one of this name: what stops earlier leaves that one,
    or none.

    Parameters
    ----------
    cube
        From :meth:`segwatch.client.session.Session.scenes` or :meth:`~segwatch.client.session.Session.cube`.
    path
        ``.nc`` or ``.nc4``: NetCDF 4; ``.zarr``: a Zarr folder.

    Raises
    ------
    segwatch.errors.BadRequest
        The name ends otherwise.
    segwatch.errors.NotReadable
        Imagery of a scene cannot be read.
    """
    target = Path(path)
    try:
        if target.suffix in _NETCDF:
            require_analysis("write_cube()", "h5netcdf", "h5py", "dask")
            with write_whole(target) as unfinished, _threads():
                cube.to_netcdf(unfinished, engine="h5netcdf", encoding=_encode(cube))
        elif target.suffix in _ZARR:
            require_analysis("write_cube()", "zarr", "dask")
            # version 2 is what most programs read, and has a stable form of texts
            with write_whole(target) as unfinished, _threads():
                cube.to_zarr(unfinished, zarr_format=2, consolidated=True)
        else:
            raise BadRequest(f"{target.name}: write NAME.nc for NetCDF or NAME.zarr for Zarr")
    except ConfigError as error:
        raise BadRequest(str(error)) from error
    return target


@contextmanager
def _threads() -> Iterator[None]:
    """Compute in threads of our own, which have ended after the block: after an error, others would go on writing."""
    import dask

    pool = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1), thread_name_prefix="cube")
    try:
        with dask.config.set(scheduler="threads", pool=pool):
            yield
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def open_cube(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open what :func:`write_cube` wrote, lazily; equal to the cube that was written."""
    import xarray as xr

    target = Path(path)
    if target.suffix in _ZARR:
        require_analysis("open_cube()", "zarr", "dask")
        found: xr.Dataset = xr.open_zarr(target)
        return found
    require_analysis("open_cube()", "h5netcdf", "h5py", "dask")
    return xr.open_dataset(target, engine="h5netcdf", chunks={})


def _encode(cube: xr.Dataset) -> dict[str, Any]:
    return {
        str(name): {**_COMPRESSION, "chunksizes": _list_chunks(one)}
        for name, one in cube.data_vars.items()
        if one.size
    }


def _list_chunks(one: xr.DataArray) -> tuple[int, ...]:
    return tuple(max(sizes) for sizes in one.chunks) if one.chunks else one.shape
