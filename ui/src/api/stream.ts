/** One server-sent event. `id` is the last one given, as the standard has it. */
export interface Message {
  id: string
  event: string
  data: string
}

/**
 * Takes the text of an event stream apart as it comes (WHATWG HTML §9.2.6). `EventSource` would do, but it sends no token.
 * Give it each piece; it gives the messages that are whole.
 */
export class StreamParser {
  private rest = ''
  private id = ''
  private event = ''
  private data: string[] = []

  push(text: string): Message[] {
    const messages: Message[] = []
    this.rest += text
    // A lone CR at the end may be the half of a CRLF: it waits.
    const lines = this.rest.split(/\r\n|\n|\r(?!$)/)
    this.rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line !== '') {
        this.field(line)
        continue
      }
      if (this.data.length > 0) messages.push({ id: this.id, event: this.event || 'message', data: this.data.join('\n') })
      this.event = ''
      this.data = []
    }
    return messages
  }

  private field(line: string) {
    const colon = line.indexOf(':')
    if (colon === 0) return
    const name = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (name === 'id' && !value.includes('\0')) this.id = value
    else if (name === 'event') this.event = value
    else if (name === 'data') this.data.push(value)
  }
}
