/**
 * The JSON of a change, read by what its neighbours looked like. What stands behind the rows
 * (`source`, `transaction`, `op`, times) differs between the changes of a topic in a few numbers
 * and texts only. So it is learned once as a template, a pattern of the text with groups for what
 * varies, and only the rows are given to the JSON parser. A change that does not fit a template to
 * the letter is parsed whole: the result is the same, later.
 */
import { escapePattern } from '../../util/pattern.ts';
import { Problem } from '../problem.ts';
import { isObject } from './exact-number.ts';

type Json = Record<string, unknown>;
type Parser = (text: string) => unknown;

/** An object that has fields behind the rows. */
type Block = 'source' | 'transaction' | 'change';

/** What a field that varies is made of. */
interface Field {
  readonly block: Block;
  readonly name: string;
  /** Null for an integer; else the texts before, between and behind the groups of a text. */
  readonly texts: readonly string[] | null;
  /** The text is that of a DigitPair. */
  readonly isPair: boolean;
}

/** What a template has for all the texts that fit it. */
interface Fixed {
  readonly source: Json;
  readonly transaction: Json | null;
  /** In the order of their groups. */
  readonly fields: readonly Field[];
}

/** The text `["1","2"]`, of a PostgreSQL source's `sequence`; both are digits and nothing else. */
export class DigitPair {
  readonly first: string;
  readonly second: string;

  constructor(first: string, second: string) {
    this.first = first;
    this.second = second;
  }
}

const PAIR: readonly string[] = ['["', '","', '"]'];

/** Where the rows end: no text can have it, whose quotes are escaped; an object in a row can. */
const SOURCE = ',"source":{';
const TRANSACTION = ',"transaction":{';
const ONLY_AFTER = '{"before":null,"after":';

/** Texts that vary; all others are the same for most changes of a table. */
const VARYING: ReadonlySet<string> = new Set([...['op', 'id', 'sequence', 'gtid', 'snapshot']]);
/** Integers that no connector asks for. */
const UNREAD: ReadonlySet<string> = new Set([
  ...['ts_us', 'ts_ns', 'data_collection_order', 'server_id', 'thread'],
]);

/** Templates of one topic: of its snapshots, and of changes with and without a transaction. */
const REMEMBERED = 8;
/** Templates learned without use before no more are tried. */
const PATIENCE = 32;
/** The longest text that is read so: values cut from it keep it in memory. */
const LONGEST = 65_536;
/** Every integer of as many digits is exact. */
const SAFE_DIGITS = 15;

/** The templates of one topic and schema. */
export class ChangeTexts {
  readonly #known: Template[] = [];
  #patience = PATIENCE;

  /**
   * What `parse` makes of the text, which it is given whole or in parts. Of a change it may leave
   * out what no connector asks for (UNREAD, and times beside the source), and behind the rows
   * integers may be bigints and a text that is a JSON array of digits may be a DigitPair. Throws what `parse` throws.
   */
  read(text: string, parse: Parser): unknown {
    if (text.length > LONGEST) return parse(text);
    const change = this.#readKnown(text, parse);
    if (change !== undefined) {
      if (this.#patience < PATIENCE) this.#patience += 1;
      return change;
    }
    const whole = parse(text);
    if (this.#patience > 0 && isObject(whole) && 'op' in whole && isObject(whole['source'])) {
      this.#learn(text);
    }
    return whole;
  }

  /** Undefined where no template fits. */
  #readKnown(text: string, parse: Parser): Json | undefined {
    const known = this.#known;
    // Most are as long behind their rows as the one before of their kind, which tells kinds apart.
    for (let i = 0; i < known.length; i += 1) {
      const template = known[i];
      const start = text.length - (template?.length ?? 0);
      const change = text.startsWith(SOURCE, start)
        ? template?.read(text, start, parse)
        : undefined;
      if (change !== undefined) return change;
    }
    if (known.length === 0) return undefined;
    const start = text.lastIndexOf(SOURCE);
    for (let i = 0; i < known.length && start >= 0; i += 1) {
      const change = known[i]?.read(text, start, parse);
      if (change !== undefined) return change;
    }
    return undefined;
  }

  /** The text is known to be JSON. */
  #learn(text: string): void {
    this.#patience -= 1;
    const start = text.lastIndexOf(SOURCE);
    const template = start < 0 ? null : templateOf(text.slice(start));
    if (template === null) return;
    this.#known.unshift(template);
    this.#known.length = Math.min(this.#known.length, REMEMBERED);
  }
}

/** Null too where SOURCE stands in a row, so that the text ends more objects than it begins. */
function templateOf(text: string): Template | null {
  try {
    return new Learner(text).template();
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

class Template {
  readonly #pattern: RegExp;
  readonly #fixed: Fixed;
  /** How much of the last text that fitted stood behind the rows. */
  length = 0;

  constructor(pattern: RegExp, fixed: Fixed) {
    this.#pattern = pattern;
    this.#fixed = fixed;
  }

  /** Undefined where the text, whose rows end at `start`, does not fit. */
  read(text: string, start: number, parse: Parser): Json | undefined {
    this.#pattern.lastIndex = start;
    const groups = this.#pattern.exec(text);
    if (groups === null) return undefined;
    this.length = text.length - start;
    const change = this.#change(groups);
    if (text.startsWith(ONLY_AFTER)) {
      const row = parsed(text.slice(ONLY_AFTER.length, start), parse);
      if (row === undefined) return undefined;
      change['after'] = row;
      return change;
    }
    // What is an object with this brace is, without it, where more fields may follow.
    const rows = parsed(`${text.slice(0, start)}}`, parse);
    if (!isObject(rows)) return undefined;
    const names = Object.keys(rows);
    if (names.length !== 2 || names[0] !== 'before' || names[1] !== 'after') return undefined;
    change['before'] = rows['before'];
    change['after'] = rows['after'];
    return change;
  }

  /** Without its rows. */
  #change(groups: RegExpExecArray): Json {
    const { fields } = this.#fixed;
    const source = { ...this.#fixed.source };
    const transaction = this.#fixed.transaction && { ...this.#fixed.transaction };
    const change: Json = { before: null, after: null, source, transaction, op: null };
    let group = 1;
    for (let i = 0; i < fields.length; i += 1) {
      const field = fields[i];
      if (field === undefined) break;
      const { block, name, texts, isPair } = field;
      let value: unknown;
      if (texts === null) {
        value = integerOf(groups[group] ?? '');
        group += 1;
      } else if (isPair) {
        value = new DigitPair(groups[group] ?? '', groups[group + 1] ?? '');
        group += 2;
      } else {
        let whole = texts[0] ?? '';
        for (let k = 1; k < texts.length; k += 1) {
          whole += (groups[group] ?? '') + (texts[k] ?? '');
          group += 1;
        }
        value = whole;
      }
      if (block === 'source') source[name] = value;
      else if (block === 'change') change[name] = value;
      else if (transaction !== null) transaction[name] = value;
    }
    return change;
  }
}

/** Undefined for what is no JSON: more stands there than rows, or the whole tells what is wrong. */
function parsed(text: string, parse: Parser): unknown {
  try {
    return parse(text);
  } catch (error) {
    if (error instanceof Problem) return undefined;
    throw error;
  }
}

function integerOf(digits: string): number | bigint {
  return digits.length > SAFE_DIGITS ? BigInt(digits) : Number(digits);
}

const FIELD = /"([^"\\]*)":(?:(0|[1-9]\d*)(?=[,}])|"((?:[^"\\]|\\.)*)"|null|true|false)/y;
const INTEGER = String.raw`(?:0|[1-9]\d*)`;
const PLAIN_TEXT = String.raw`([^"\\\x00-\x1f]*)`;
const ONLY_QUOTES_ESCAPED = /^(?:[^\\]|\\")*$/;
const DIGITS = /\d+/g;

/**
 * Makes the template of a text that begins with SOURCE and that a JSON object is known to end with.
 */
class Learner {
  readonly #text: string;
  readonly #sent: Json;
  readonly #fields: Field[] = [];
  readonly #kept = { source: {} as Json, transaction: {} as Json, change: {} as Json };
  #pattern = '';
  #at = SOURCE.length;
  #copied = 0;

  constructor(text: string) {
    this.#text = text;
    this.#sent = JSON.parse(`{${text.slice(1)}`) as Json;
  }

  /** Null where there is more than flat objects of plain values, or no `op`. */
  template(): Template | null {
    const text = this.#text;
    const names = new Set(['before', 'after', 'source']);
    if (!this.#object('source')) return null;
    while (text[this.#at] === ',') {
      if (text.startsWith(TRANSACTION, this.#at)) {
        if (names.has('transaction')) return null;
        names.add('transaction');
        this.#at += TRANSACTION.length;
        if (!this.#object('transaction')) return null;
      } else {
        this.#at += 1;
        if (!this.#field('change', this.#sent, names)) return null;
      }
    }
    if (!names.has('op') || text.length !== this.#at + 1) return null;
    this.#put('', text.length, text.length);
    const { source, transaction } = this.#kept;
    const marked = isObject(this.#sent['transaction']);
    return new Template(new RegExp(`${this.#pattern}$`, 'y'), {
      source,
      transaction: marked ? transaction : null,
      fields: this.#fields,
    });
  }

  /** Fields up to the brace that closes them. */
  #object(block: 'source' | 'transaction'): boolean {
    const values = this.#sent[block];
    const names = new Set<string>();
    while (isObject(values) && this.#field(block, values, names)) {
      this.#at += 1;
      const behind = this.#text[this.#at - 1];
      if (behind !== ',') return behind === '}';
    }
    return false;
  }

  #field(block: Block, values: Json, names: Set<string>): boolean {
    FIELD.lastIndex = this.#at;
    const [all, name = '', digits, written] = FIELD.exec(this.#text) ?? [];
    if (all === undefined || names.has(name)) return false;
    names.add(name);
    this.#at += all.length;
    const end = this.#at;
    const read = block === 'change' ? name === 'op' : !UNREAD.has(name);
    if (read) this.#kept[block][name] = values[name];
    if (digits !== undefined) {
      this.#put(read ? `(${INTEGER})` : INTEGER, end - digits.length, end);
      if (read) this.#fields.push({ block, name, texts: null, isPair: false });
    } else if (
      read &&
      written !== undefined &&
      VARYING.has(name) &&
      ONLY_QUOTES_ESCAPED.test(written)
    ) {
      const texts = this.#varying(written, end - 1);
      const isPair = PAIR.every((text, i) => text === texts[i]) && texts.length === PAIR.length;
      this.#fields.push({ block, name, texts, isPair });
    }
    return true;
  }

  /** A text that ends there: any one without escapes; of one with them, its digits vary. */
  #varying(written: string, end: number): readonly string[] {
    const start = end - written.length;
    if (!written.includes('\\')) {
      this.#put(PLAIN_TEXT, start, end);
      return ['', ''];
    }
    const texts = [];
    let from = 0;
    for (const { 0: digits, index } of written.matchAll(DIGITS)) {
      texts.push(unescaped(written.slice(from, index)));
      from = index + digits.length;
      this.#put(String.raw`(\d+)`, start + index, start + from);
    }
    return [...texts, unescaped(written.slice(from))];
  }

  /** A pattern in place of a part of the text, behind what stood before it as it is. */
  #put(pattern: string, from: number, to: number): void {
    this.#pattern += escapePattern(this.#text.slice(this.#copied, from)) + pattern;
    this.#copied = to;
  }
}

function unescaped(written: string): string {
  return JSON.parse(`"${written}"`) as string;
}
