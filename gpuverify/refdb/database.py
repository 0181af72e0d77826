"""The reference database: look-ups that open one family file each."""

from __future__ import annotations

from pathlib import Path

from gpuverify.errors import UsageError
from gpuverify.model.claims import Value
from gpuverify.model.evidence import ClaimSet
from gpuverify.model.product import Grade, Product, Recognition
from gpuverify.refdb.fields import key
from gpuverify.refdb.index import Index, index_of, read_index
from gpuverify.refdb.loader import DATA, load_family, read_table
from gpuverify.refdb.recognition import recognise
from gpuverify.refdb.resolve import resolve


class Database:
    """Products and their reference values.

    Opening reads the index alone; a family file is read when one of its products is first asked
    for. A database is read-only; `without_source` returns another one.
    """

    def __init__(
        self, index: Index, folder: Path, dropped: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Stand on an index; use `Database.open`.

        Args:
            index: The look-up tables.
            folder: Folder of the family files.
            dropped: Citations that are left out, see `without_source`.
        """
        self._index = index
        self._folder = folder
        self._dropped = dropped
        self._products: dict[str, Product] = {}
        self._read: set[str] = set()
        self._libraries: dict[str, str] | None = None

    @classmethod
    def open(cls, folder: Path = DATA) -> Database:
        """Open the reference data.

        Args:
            folder: Folder of the data files; the shipped one where none is named.

        Returns:
            The database.

        Raises:
            ReferenceDataError: The index is missing or damaged.
        """
        return cls(read_index(folder), folder)

    @property
    def version(self) -> str:
        """Version of the data."""
        return self._index.version

    @property
    def sha256(self) -> str:
        """Digest over the data files, as the index states it (the lint recomputes it)."""
        return self._index.sha256

    def _family(self, family: str) -> None:
        """Read a family file once."""
        if family in self._read:
            return
        kinds = {name: Grade(kind) for name, kind in self._index.kinds.items()}
        for product in load_family(self._folder / f"{family}.toml", kinds, self._dropped):
            self._products[product.id] = product
        self._read.add(family)

    def product(self, product_id: str) -> Product:
        """Return a product.

        Args:
            product_id: Its id, exactly.

        Returns:
            The product.

        Raises:
            UsageError: There is no such product.
        """
        family = self._index.families.get(product_id)
        if family is None:
            raise UsageError(f"no product has the id {product_id!r}; see `gpuverify products`")
        self._family(family)
        return self._products[product_id]

    def products(self) -> tuple[Product, ...]:
        """Return all products, in id order."""
        return tuple(self.product(product_id) for product_id in sorted(self._index.families))

    def resolve(self, text: str, memory: str | None = None) -> tuple[Product, bool]:
        """Resolve the words of a sale claim to one product.

        Args:
            text: A product id, an alias or a name as NVML prints it; case and hyphens do not
                matter. A family word such as "a100" fits several.
            memory: Memory label, e.g. "80GB", per GPU or per board.

        Returns:
            The product, and whether the label is one of a whole board (a K80's "24GB").

        Raises:
            UsageError: The words fit none or several products; the candidates are listed.
        """
        product_id, per_board = resolve(text, memory, self._index.entries, self._index.names)
        return self.product(product_id), per_board

    def recognise(self, claims: ClaimSet) -> Recognition:
        """Return which product a device's claims name, see `gpuverify.refdb.recognition`.

        Args:
            claims: Claims about one device.

        Returns:
            The recognition.
        """
        return recognise(claims, self.device_holders, self.product)

    def neighbours(self, product: Product) -> tuple[Product, ...]:
        """Return the products that could be passed off as this one, in file order."""
        return tuple(self.product(product_id) for product_id in product.neighbours)

    def holders(self, field: str, value: Value) -> tuple[str, ...]:
        """Return ids of all products for which a value is on file in a field, in id order.

        Args:
            field: Reference field; derived ones and "pci.identity" as well.
            value: The value. Names are compared without a leading "NVIDIA ".

        Returns:
            Product ids.
        """
        return tuple(self._index.values.get(field, {}).get(key(field, value), ()))

    def device_holders(self, device_id: int) -> tuple[str, ...]:
        """Return ids of all products that use this PCI device id, in id order."""
        return self._index.devices.get(device_id, ())

    def library_version(self, sha256: str) -> str | None:
        """Return the driver version whose NVML library has this digest, None if not on file."""
        if self._libraries is None:
            table = read_table(self._folder / "libraries.toml").get("sha256", {})
            # Where two versions have one digest, the first counts.
            self._libraries = {table[version]: version for version in reversed(table)}
        return self._libraries.get(sha256)

    def without_source(self, source: str, locator_contains: str = "") -> Database:
        """Return this database without what rests only on some citations.

        Args:
            source: Source key.
            locator_contains: Part of the locator; "" leaves out the whole source.

        Returns:
            A database in which values, match entries and `sold_as` that no other citation
            supports are absent. Products, names and neighbours stay.
        """
        dropped = (*self._dropped, (source, locator_contains))
        smaller = Database(self._index, self._folder, dropped)
        index = index_of(smaller.products(), self.version, self.sha256)
        index.kinds = self._index.kinds
        smaller._index = index
        return smaller
