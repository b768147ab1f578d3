/** DESIGN §4: names of tags, runners, senders and sources. */
export const NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/

/** The words of a text, each once. */
export const words = (text: string) => [...new Set(text.split(/[\s,]+/).filter((word) => word !== ''))]

/** The first word that is no name. */
export const notAName = (words: string[]) => words.find((word) => !NAME.test(word))
