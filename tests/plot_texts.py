"""What tests of pictures look at: all texts of a figure, and whether each can be read."""

from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg


def texts_in(figure):
    """All that can be read in a figure: of an axis's numbers, those within its limits."""
    found = [text for part in (figure, *figure.subfigs) for text in (part._suptitle, part._supxlabel, *part.texts)]
    for axes in filter(lambda axes: axes.get_visible(), figure.get_axes()):
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, sorted(axes.get_ylim()))):
            found += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            found.append(axis.label)
        found += [axes._left_title, *axes.texts]
    for part in (figure, *figure.subfigs, *figure.get_axes()):
        legends = part.legends if hasattr(part, "legends") else []
        found += [text for legend in legends for text in legend.get_texts()]
    return [text for text in dict.fromkeys(filter(None, found)) if text.get_text() and text.get_visible()]


def check_texts(figure):
    """No text is cut off, and none covers another."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    boxes = {text: text.get_window_extent(canvas.get_renderer()) for text in texts_in(figure)}
    for text, box in boxes.items():
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text
    for text, other in combinations(boxes, 2):
        assert not boxes[text].overlaps(boxes[other]), (text, other)
    return len(boxes)
