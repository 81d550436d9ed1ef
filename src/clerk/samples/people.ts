// The people in the samples. Their names are what a database, an email and a form have to stand:
// beyond ASCII, in several scripts, with apostrophes and combining marks.

import type { Source } from "./source.ts";

const PEOPLE = [
  { first: "Zoë", last: "van den Berg", mailbox: "zoe.vandenberg" },
  { first: "Łukasz", last: "Wójcik", mailbox: "lukasz.wojcik" },
  { first: "Thị Hương", last: "Nguyễn", mailbox: "huong.nguyen" },
  { first: "花子", last: "山田", mailbox: "hanako.yamada" },
  { first: "José", last: "Núñez", mailbox: "jose.nunez" },
  { first: "Ayşe", last: "Yılmaz", mailbox: "ayse.yilmaz" },
  { first: "Björk", last: "Þórsdóttir", mailbox: "bjork.thorsdottir" },
  { first: "Oluwaṣeun", last: "Adébáyọ̀", mailbox: "seun.adebayo" },
  { first: "Олена", last: "Коваленко", mailbox: "olena.kovalenko" },
  { first: "ليلى", last: "حداد", mailbox: "layla.haddad" },
  { first: "Siobhán", last: "O’Connor", mailbox: "siobhan.oconnor" },
  { first: "Grace", last: "Mbeki", mailbox: "grace.mbeki" },
];

export type Person = ReturnType<typeof person>;

/** Somebody, with an address that nobody else has and that reaches nobody. */
export function person(source: Source) {
  const { first, last, mailbox } = source.pick(PEOPLE);
  return {
    first_name: first,
    last_name: last,
    // example.com, .net and .org are kept for examples by RFC 2606. Digits, because handlers have unique columns.
    email: `${mailbox}.${source.digits(5)}@example.${source.pick(["com", "net", "org"])}`,
  };
}

/** A number that nobody has: 555-0100 to 555-0199 are kept for fiction, and are Clerk's own test numbers. */
export function phoneNumber(source: Source): string {
  return `+1${source.pick(["201", "312", "415", "617", "808"])}55501${source.digits(2)}`;
}
