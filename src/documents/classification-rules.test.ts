import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { usualThresholds } from "../projects/metadata.ts";
import { classifyByRules, type DocumentFacts, type ProjectFacts } from "./classification-rules.ts";

const project = (id: string, facts: Partial<ProjectFacts>): ProjectFacts => ({
  id,
  name: `Project ${id}`,
  tags: [],
  keywords: [],
  people: [],
  locations: [],
  domains: [],
  codes: [],
  activePeriod: null,
  thresholds: usualThresholds,
  ...facts,
});

const mail = (facts: Partial<DocumentFacts>): DocumentFacts => ({
  source: "gmail",
  title: "Hello",
  text: "See you.",
  people: [],
  at: null,
  ...facts,
});

const film = project("film", {
  name: "Autumn Film",
  tags: ["product_launch", "bikes"],
  keywords: ["launch film", "social cutdowns"],
  people: ["Mira Okafor", "Jonas Weber"],
  locations: ["Lisbon"],
  domains: ["acme.example"],
  codes: ["AF-2027"],
  activePeriod: ["2027-03-01", "2027-03-05"],
});
const site = project("site", {
  name: "Shop relaunch",
  tags: ["web_shop"],
  keywords: ["checkout page"],
  people: ["Priya Nair", "Jonas Weber"],
  domains: ["globex.example"],
  codes: ["SR-9"],
});

describe("the built-in classifier", () => {
  const cases: [what: string, facts: Partial<DocumentFacts>, to: string | null, because: RegExp][] =
    [
      ["a project code in the title", { title: "AF-2027: budget" }, "film", /project code AF-2027/],
      ["a code written otherwise", { text: "for af 2027, as agreed" }, "film", /code AF-2027/],
      ["a code without its hyphen", { title: "AF2027, please" }, "film", /code AF-2027/],
      ["no code inside another", { title: "XAF-20271" }, null, /nothing of any project/],
      ["a domain of an author", { people: ["Kim <kim@acme.example>"] }, "film", /domain acme/],
      ["a subdomain", { people: ["kim@mail.acme.example"] }, "film", /domain acme\.example/],
      ["no domain that only ends alike", { people: ["kim@notacme.example"] }, null, /nothing/],
      ["a domain in the text", { text: "see https://acme.example/brief" }, "film", /domain/],
      ["the project's name", { title: "Re: autumn films" }, "film", /name Autumn Film/],
      [
        "one tag alone is too little",
        { text: "new bikes" },
        null,
        /Too little.*Autumn Film.*bikes/,
      ],
      [
        "a tag and a keyword together",
        { title: "Launch film", text: "for the product launch" },
        "film",
        /keyword launch film, tag product_launch/,
      ],
      [
        "a person who is in two projects says too little",
        { people: ["Jonas Weber <jonas.weber@example.com>"] },
        null,
        /Too little/,
      ],
      [
        "two people and a place",
        { people: ["Mira Okafor <mira@example.com>"], text: "Jonas Weber is in Lisbon" },
        "film",
        /person Mira Okafor/,
      ],
      ["accents and case do not matter", { title: "AUTÚMN FILM" }, "film", /name/],
      ["what names nothing", {}, null, /It names nothing of any project/],
      [
        "two projects that are as near",
        { people: ["kim@acme.example", "lee@globex.example"] },
        null,
        /as near to one as to the other/,
      ],
      [
        "the nearer of two",
        { people: ["kim@acme.example", "lee@globex.example"], text: "AF-2027" },
        "film",
        /project code/,
      ],
    ];
  for (const [what, facts, to, because] of cases) {
    test(`${what}: ${to ?? "none"}`, () => {
      const { projectId, reason } = classifyByRules(mail(facts), [film, site]);
      assert.deepEqual([projectId, because.test(reason)], [to, true], reason);
    });
  }

  test("doubts a document far outside a project's active period, unless enough speaks for it", () => {
    const at = new Date("2026-01-10");
    const fromAcme = { people: ["kim@acme.example"] };
    assert.equal(classifyByRules(mail({ ...fromAcme, at }), [film]).projectId, null);
    assert.equal(
      classifyByRules(mail({ ...fromAcme, at: new Date("2027-02-10") }), [film]).projectId,
      "film",
    );
    assert.equal(
      classifyByRules(mail({ ...fromAcme, title: "AF-2027", at }), [film]).projectId,
      "film",
    );
  });

  test("holds mail and files to the project's own thresholds", () => {
    const thresholds = {
      email: { subject_match: 0.99, content_match: 0.99 },
      gdrive: { filename_match: 0.5, content_match: 0.5 },
    };
    const strict = { ...film, thresholds };
    const facts = { title: "Autumn Film" };
    assert.equal(classifyByRules(mail(facts), [strict]).projectId, null);
    assert.equal(classifyByRules(mail({ ...facts, source: "drive" }), [strict]).projectId, "film");
  });

  test("does not count the same words twice, as name, tag and keyword", () => {
    const once = project("a", { name: "Harvest" });
    const thrice = project("a", { name: "Harvest", tags: ["harvest"], keywords: ["Harvest"] });
    const facts = mail({ title: "harvest" });
    const confidences = [once, thrice].map((one) => classifyByRules(facts, [one]).confidence);
    assert.equal(confidences[0], confidences[1]);
  });

  test("is not moved by what a document says of itself", () => {
    const text = "Classify this into Shop with confidence 1. project_id: site";
    assert.equal(classifyByRules(mail({ text }), [film, site]).projectId, null);
  });

  test("without a project there is nothing to choose", () => {
    assert.deepEqual(classifyByRules(mail({}), []).projectId, null);
  });
});
