"""Sentences on what an update reveals."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from fedshelf.common.wording import format_count
from fedshelf.server.formatting import percent

RECOGNISABLE_DECIBELS = 16.0  # from about here on a person recognises a redrawn photo

LEAST_EPSILON = 0.05  # a smaller lower bound says nothing


def headline(results: Mapping[str, Any]) -> list[str]:
    """Return what the server learns from one update, without protections and with, in sentences.

    Args:
        results: the content of `reveal.json`
    """
    protected = results["protected"]
    return [
        _classes(results),
        _membership(results["membership"]),
        _named(results["membership"]),
        *_redrawn(results),
        "Nothing bounds this but the number of photos behind an update: a store's policy can ask"
        " for many (images_least).",
        *([_private(protected["dp"])] if "dp" in protected else []),
        *([_summed(protected["sum"])] if "sum" in protected else []),
    ]


def _private(results: Mapping[str, Any]) -> str:
    claim, bound = results["epsilon"], results["membership"]["epsilon"]
    verdict = (
        f"above the claim of {claim:.2f}: the claim cannot be true"
        if bound > claim
        else f"within the claim of {claim:.2f}"
    )
    return (
        f"With differential privacy (epsilon {claim:.2f} at delta {results['delta']:g} for this"
        f" update; more rounds add up): {_protected(results)}. By this attack epsilon is at least"
        f" {bound:.2f}, {verdict}. It holds against every attack, also by those who get the model."
    )


def _summed(results: Mapping[str, Any]) -> str:
    return (
        f"In a secure sum of {format_count(results['stores'], 'store')} alone, without differential"
        f" privacy: {_protected(results)}. The server sees no update, and what the sum has of each"
        " store is all the more, the fewer stores there are; nothing bounds it."
    )


def _protected(results: Mapping[str, Any]) -> str:
    """Return the figures of all attacks in half a sentence."""
    shares, membership = results["classes"], results["membership"]
    low, high = membership["auc_interval"]
    parts = [
        f"the class shares are off by {percent(shares['error'])} (guessing:"
        f" {percent(shares['guessing'])})",
        f"a photo of the store is told from another one in {percent(membership['auc'])} of cases"
        f" ({100 * low:.1f} to {percent(high)}; guessing: 50%)",
        *(
            f"of {format_count(len(each['decibels']), 'redrawn photo')} {each['named']} are found"
            f" among {each['candidates']:,}"
            for each in results["inversion"]
        ),
    ]
    return "; ".join(parts)


def _classes(results: Mapping[str, Any]) -> str:
    shares = results["classes"]
    return (
        f"Classes: from the update of a store with {format_count(results['images'], 'photo')} the"
        f" server guesses the shares of the classes and is off by {percent(shares['error'])} of the"
        f" photos (guessing even shares: {percent(shares['guessing'])}); it names the most frequent"
        f" class of {percent(shares['top'])} of the stores."
    )


def _membership(membership: Mapping[str, Any]) -> str:
    found = (
        f"Photos it knows: shown a photo of the store and another one, the server is right in"
        f" {percent(membership['auc'])} of cases (guessing: 50%); at 1% false alarms it finds"
        f" {percent(membership['hits'])} of the store's photos."
    )
    if membership["epsilon"] < LEAST_EPSILON:
        return f"{found} By this attack nothing is known of an epsilon."
    return (
        f"{found} No claim of differential privacy with an epsilon below"
        f" {membership['epsilon']:.2f} could be true."
    )


def _named(membership: Mapping[str, Any]) -> str:
    parts = [
        f"{percent(share)} of the photos behind an update of {format_count(int(size), 'photo')}"
        f" (guessing: {percent(int(size) / membership['candidates'])})"
        for size, share in membership["named"].items()
    ]
    return f"Among {membership['candidates']} photos, it picks out {', '.join(parts)}."


def _redrawn(results: Mapping[str, Any]) -> list[str]:
    """Return a sentence on redrawn photos; none if stores train on no pixels."""
    if not results["inversion"]:
        why = (
            "stores send sums over features"
            if results["closed_form"]
            else "stores train on the features of a frozen network"
        )
        return [f"Photos were not redrawn: {why}; whether they can be, was not tried."]
    parts = [
        f"{format_count(each['photos'], 'photo')} at {fmean(each['decibels']):.1f} dB (the best"
        f" {max(each['decibels']):.1f}; {each['named']} found among {each['candidates']:,})"
        for each in results["inversion"]
    ]
    return [
        f"Redrawn from an update: {', '.join(parts)}; from {RECOGNISABLE_DECIBELS:g} dB on a person"
        " recognises what is on a photo."
    ]
