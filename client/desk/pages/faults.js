// What went wrong with signing in or an account, in the reader's language.

import {Refused} from "./net.js";
import {t} from "./words.js";

// wrong: the word for being refused. rule: the word for a password that is not taken, where one was sent.
export function why(fault, wrong, rule) {
  if (!(fault instanceof Refused)) return t("away");
  if (fault.status === 429) return t("sign_in_wait", {seconds: fault.answer.seconds});
  if (rule && fault.status === 422) return `${t(rule)} ${t("password_rule")}`;
  if (wrong && fault.status === 403 && !fault.answer.word) return t(wrong);
  return fault.message;
}
