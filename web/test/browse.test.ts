import { describe, expect, test } from "vitest";
import { pageCount } from "../src/browse/pager";
import { filterCount, filterQuery, NOTHING, pageStart, readState, type State, writeState } from "../src/browse/state";
import { counted, fileName, score } from "../src/browse/texts";

describe("the address", () => {
  const full: State = {
    classes: ["cat", "", "a&b=c"],
    statuses: ["reviewed", "failed"],
    limits: { min_faces: "2", max_score: "0.5", min_height: "10" },
    order: "smallest",
    start: 120,
    open: 125,
  };

  test("says a state, whole", () => {
    expect(readState(writeState(full))).toEqual(full);
    expect(writeState(NOTHING)).toBe("");
    expect(readState("")).toEqual(NOTHING);
  });

  test("of an open image alone tells its page", () => {
    expect(readState("?open=61")).toEqual({ ...NOTHING, start: 60, open: 61 });
    expect(readState("?start=61").start).toBe(60);
  });

  test.each([
    "?order=up&order=table",
    "?start=-1&open=x",
    "?start=1e99&open=1.5",
    "?min_faces=x&max_score=-1&min_height=",
    "?status=lost",
    "?unknown=1&token=2",
    "?open=99999999999",
  ])("without sense is left out: %s", (search) => expect(readState(search)).toEqual(NOTHING));

  test("asks the server for filters only", () => {
    expect(filterQuery(full).toString()).toBe(
      "class=cat&class=&class=a%26b%3Dc&status=reviewed&status=failed&min_faces=2&min_height=10&max_score=0.5",
    );
    expect(filterCount(full)).toBe(8);
    expect(filterCount({ ...NOTHING, limits: { min_score: "0", max_score: "1" } })).toBe(1);
  });
});

test("pages hold 60 images", () => {
  expect([0, 1, 59, 60, 119, 120].map(pageStart)).toEqual([0, 0, 0, 60, 60, 120]);
  expect([0, 1, 60, 61, 1_431_093].map(pageCount)).toEqual([1, 1, 1, 2, 23_852]);
});

test("numbers and names read well", () => {
  expect([counted(0, "face"), counted(1, "face"), counted(1_234, "face"), counted(2, "class", "classes")]).toEqual([
    "0 faces",
    "1 face",
    "1,234 faces",
    "2 classes",
  ]);
  expect([score(null), score(0.456), fileName("a/b/c.jpg"), fileName("c")]).toEqual(["–", "0.46", "c.jpg", "c"]);
});
