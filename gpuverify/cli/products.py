"""`gpuverify products`: what can be claimed."""

from __future__ import annotations

import sys

import click

from gpuverify.errors import UsageError


@click.command("products", short_help="List or search the products on file.")
@click.argument("words", nargs=-1, metavar="[TEXT]")
def command(words: tuple[str, ...]) -> int:
    """List the products on file, or those that fit all words of TEXT.

    Words are looked for in ids, names, chips, forms and memory labels; a PCI device id (20B2) too.
    """
    from gpuverify.cli.output import write_stdout
    from gpuverify.codec.text import printable
    from gpuverify.refdb import Database
    from gpuverify.render.catalogue import products_text
    from gpuverify.render.style import standard_style

    wanted = [word.lower() for text in words for word in text.split()]
    found = [
        product
        for product in Database.open().products()
        if all(any(word in hay for hay in _searched(product)) for word in wanted)
    ]
    if not found:
        raise UsageError(
            f"no product on file fits {printable(' '.join(words), 80)!r};"
            " gpuverify products lists them all"
        )
    write_stdout(products_text(found, standard_style(sys.stdout)))
    return 0


def _searched(product: object) -> list[str]:
    """Return the texts of a product that a word is looked for in."""
    from gpuverify.model.product import Product

    if not isinstance(product, Product):
        msg = f"not a product: {product!r}"
        raise TypeError(msg)
    texts = [
        product.id,
        product.name,
        *product.aliases,
        product.chip,
        product.form,
        product.architecture,
        product.status.value,
        *product.memory_labels,
        *(f"{identity.device_id:04x}" for identity in product.pci),
    ]
    return [text.lower() for text in texts]
