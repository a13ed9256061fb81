"""The pictures of documents are drawn from the runs that they name."""

from draw_figures import main
from places import AVX2


def test_a_picture_is_drawn_where_the_document_shows_it(tmp_path):
    document, said = tmp_path / "README.md", []
    text = f"Before.\n\n<!-- drawn from {AVX2 / 'memory'}: growth -->\n![Growth](img/growth.svg)\n"
    document.write_text(text, encoding="utf-8")
    assert main([str(document)], said.append) == 0
    assert "fomaml" in (tmp_path / "img" / "growth.svg").read_text(encoding="utf-8") and len(said) == 1
    document.write_text(text.replace("growth -->", "grwth -->"), encoding="utf-8")
    assert main([str(document)], said.append) == 2 and "did you mean 'growth'" in said[-1]
    assert main([str(tmp_path / "none.md")], said.append) == 2 and "there is no document" in said[-1]
