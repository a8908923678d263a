import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { clockOf, piecesOf, runsOf, searched } from "../console/src/spoken.ts";

const said = (speaker: string, text: string, start = 0) => ({ speaker, text, start, end: start });

describe("the console's transcript", () => {
  test("stands together while one person speaks", () => {
    const runs = runsOf([said("Ada", "One", 1), said("Ada", "Two", 2), said("Kim", "Three", 3)]);
    assert.deepEqual(
      runs.map(({ speaker, start, segments }) => [speaker, start, segments.length]),
      [
        ["Ada", 1, 2],
        ["Kim", 3, 1],
      ],
    );
  });

  test("is cut where the words stand, in either case and whatever signs they hold", () => {
    const cut = (text: string, wanted: string) =>
      piecesOf(text, wanted).map((piece) => (piece.isHit ? `[${piece.text}]` : piece.text));
    assert.deepEqual(cut("The film, THE FILM", " the film "), ["[The film]", ", ", "[THE FILM]"]);
    assert.deepEqual(cut("Is it (a+b)? It is.", "(a+b)?"), ["Is it ", "[(a+b)?]", " It is."]);
    assert.deepEqual(cut("Grüße an ÖZIL", "özil"), ["Grüße an ", "[ÖZIL]"]);
    assert.deepEqual(cut("Anything", "  "), ["Anything"]);
  });

  test("is found by its words and by who said it; only words are counted", () => {
    const all = [said("Ada", "Kim knows, ask Kim"), said("Kim", "I do"), said("Ada", "Good")];
    const { found, hits } = searched(all, "kim");
    assert.deepEqual([found.length, hits], [2, 2]);
  });

  test("is timed in minutes, and in hours where there are any", () => {
    assert.deepEqual([7, 67.9, 3_667].map(clockOf), ["0:07", "1:07", "1:01:07"]);
  });
});
