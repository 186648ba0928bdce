/** Numbers as tools print them, which some do in the locale of their machine. */

/** Spaces of every width, and the apostrophes of Switzerland: they only group digits. */
const grouping = /[\s\u00a0\u2009\u202f'\u2019]/g;

/** No number is longer. */
const MAX_LENGTH = 40;

/**
 * Whether a comma parts whole and fraction in these numbers: one of them says so without doubt (`0,5`, `12,34`, `1.234,5`) and none says
 * the opposite. By itself `1,234` may be either.
 */
export function hasDecimalComma(numbers: Iterable<string>): boolean {
  let isSaid = false;
  for (const number of numbers) {
    const text = number.replace(grouping, "");
    const [point, comma] = [text.lastIndexOf("."), text.lastIndexOf(",")];
    if (point > comma) return false;
    if (comma < 0) continue;
    const isOneOfMany = text.indexOf(",") < comma;
    if (isOneOfMany) return false;
    if (point >= 0 || !/^-?[1-9]\d{0,2},\d{3}$/.test(text)) isSaid = true;
  }
  return isSaid;
}

/**
 * The number that a text means: `1234.5`, `1,234.5`, `1.234,5`, `1 234,5`, `1'234.5`, `0,5`, `1.5e-3`, `0.5s`. The last of point and comma
 * parts the fraction; a lone comma groups thousands where three digits follow it, unless `decimalComma` says otherwise. Null for what is no number.
 */
export function parseNumber(text: string | undefined, decimalComma = false): number | null {
  if (text === undefined || text.length > MAX_LENGTH) return null;
  let plain = text.replace(grouping, "").replace(/s$/i, "");
  const [point, comma] = [plain.lastIndexOf("."), plain.lastIndexOf(",")];
  if (comma >= 0) {
    const isDecimal = point >= 0
      ? comma > point
      : plain.indexOf(",") === comma && (decimalComma || !/^-?[1-9]\d{0,2},\d{3}$/.test(plain));
    plain = isDecimal ? plain.replaceAll(".", "").replace(",", ".") : plain.replaceAll(",", "");
  }
  if (!/^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,3})?$/i.test(plain)) return null;
  const number = Number(plain);
  return Number.isFinite(number) ? number : null;
}
