"""Numbers as tables print them: reports and the documentation."""


def decimals(value: float) -> int:
    """One below a thousand, none from there on."""
    return 1 if abs(value) < 1000 else 0


def number(value: float, digits: int | None = None) -> str:
    """12.34 -> 12.3, 1234.5 -> 1234, and never -0.0; `digits`: so many decimals."""
    digits = decimals(value) if digits is None else digits
    return f"{round(value, digits) + 0.0:.{digits}f}"


def mean_std(mean: float, std: float | None, n: int, digits: int | None = None) -> str:
    """`12.3 ± 1.2`, in the mean's decimals, with the number of seeds where it is not five."""
    digits = decimals(mean) if digits is None else digits
    text = number(mean, digits) + ("" if std is None else f" ± {number(std, digits)}")
    return text if n == 5 else f"{text} (n = {n})"
