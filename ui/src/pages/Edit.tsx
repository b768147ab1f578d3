import { Alert, Button, Group, Stack, Stepper, Tabs, Text, Textarea, TextInput, Title } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { getRouteApi, useNavigate } from '@tanstack/react-router'
import { type ReactNode, useEffect, useState } from 'react'
import { api, ask, Failure, type RunnerSpec, type RunnerView, type Written } from '../api/client'
import { components, runner as runnerQuery } from '../api/queries'
import { Barred, Outcome, Targets, useRoleBar } from '../components/Act'
import { Form, Value } from '../components/Form'
import { Go } from '../components/Go'
import { Remote, Trouble } from '../components/Remote'
import { useKept } from '../components/useKept'
import { useWords } from '../components/words'
import { type Book, bookOf, type Draft, draftOf, emptyDraft, isMovable, specOf, withValue } from '../logic/draft'
import { type Fault, isObject, type Json } from '../logic/schema'
import { Panel } from './Overview'
import { fieldName, type Language, type Words } from '../text'
import { sayTold } from '../told'
import { Try } from './Try'

const createRoute = getRouteApi('/create')
const editRoute = getRouteApi('/runners/$runner/edit')

export function Create() {
  const { tag } = createRoute.useSearch()
  return <WithBook>{(book) => <Editor book={book} place={`runner:${tag ?? ''}`} draft={emptyDraft(tag)} spec={undefined} revision={undefined} />}</WithBook>
}

export function Edit() {
  const { runner } = editRoute.useParams()
  const of = useQuery({ ...runnerQuery(runner), refetchInterval: false, refetchOnWindowFocus: false })
  return <Remote of={of}>{(view) => <WithBook>{(book) => <Opened view={view} book={book} />}</WithBook>}</Remote>
}

/** What the node that is asked makes runners of: all fields come from it. */
function WithBook({ children }: { children: (book: Book) => ReactNode }) {
  const of = useQuery(components)
  return <Remote of={of}>{(parts) => children(bookOf(parts))}</Remote>
}

/** The runner as it was when it was opened; looks that come later do not touch what is being typed. */
function Opened({ view, book }: { view: RunnerView; book: Book }) {
  const [opened] = useState(view)
  return <Editor book={book} place={`runner@${opened.name}@${opened.spec_revision}`} draft={draftOf(opened.spec)} spec={opened.spec} revision={opened.spec_revision} />
}

interface Work {
  draft: Draft
  /** Where it is set, the raw form is what counts. */
  raw: string | undefined
}

/** Steps of the guide. */
const PARSE = 1
const CHECK = 4

const pretty = (spec: RunnerSpec) => JSON.stringify(spec, null, 2)

function Editor({ book, place, draft, spec, revision }: { book: Book; place: string; draft: Draft; spec: RunnerSpec | undefined; revision: string | undefined }) {
  const { t, language } = useWords()
  const navigate = useNavigate()
  const client = useQueryClient()
  const bar = useRoleBar()
  const [work, keep, drop] = useKept<Work>(place, { draft, raw: undefined })
  const [step, setStep] = useState(0)
  const [written, setWritten] = useState<{ answer: Written; name: string }>()
  const [against, setAgainst] = useState(revision)
  const guided = work.raw === undefined
  const { spec: said, faults, jsonError } = useSaid(work, book)
  const name = spec?.name ?? said?.name ?? ''
  const apply = (dry_run: boolean) =>
    ask(
      api.PUT('/v1/runners/{runner}', {
        params: { path: { runner: name }, query: { dry_run } },
        headers: against && !dry_run ? { 'if-match': `"${against}"` } : {},
        body: said as RunnerSpec,
      }),
    )
  const checked = useMutation({ mutationFn: () => apply(true) })
  const saved = useMutation({
    mutationFn: () => apply(false),
    onSuccess: (answer) => {
      drop()
      setWritten({ answer, name })
      void client.invalidateQueries()
    },
    onError: async (error) => {
      // The next save says that it knows.
      if (error instanceof Failure && error.problem?.status === 412) setAgainst((await ask(api.GET('/v1/runners/{runner}', { params: { path: { runner: name } } }))).spec_revision)
    },
  })
  const key = JSON.stringify(said)
  // A plan belongs to the spec that it was asked for.
  useEffect(checked.reset, [key])
  const problems: { at: string; text: string }[] = [
    ...faults.map((fault) => ({ at: fault.at, text: told(fault, t, language) })),
    ...[checked.error, saved.error].flatMap((error) => (error instanceof Failure ? (error.problem?.errors ?? []).map((fault) => ({ at: fault.pointer, text: sayTold(language, fault.detail) })) : [])),
  ]
  if (written)
    return (
      <Stack>
        <Title order={1} size="h3">
          {t('saved')}
        </Title>
        <Outcome written={written.answer} onClose={() => void navigate({ to: '/runners/$runner', params: { runner: written.name } })} />
      </Stack>
    )
  const isReady = said !== undefined && faults.length === 0 && name !== ''
  const check = () => {
    setStep(CHECK)
    if (isReady) checked.mutate()
  }
  const footer = (
    <Stack>
      {jsonError && <Alert color="red" variant="outline" role="alert">{t('json_bad', { reason: jsonError })}</Alert>}
      {step === CHECK && faults.length > 0 && (
        <Alert color="red" variant="outline" role="alert">
          {problems.map((problem, at) => (
            <Text size="sm" key={at}>
              <code>{problem.at}</code> {problem.text}
            </Text>
          ))}
        </Alert>
      )}
      {checked.error && <Trouble error={checked.error} />}
      {saved.error && <Trouble error={saved.error} />}
      {saved.error instanceof Failure && saved.error.problem?.status === 412 && <Text size="sm">{t('changed_meanwhile')}</Text>}
      {checked.data && (
        <Panel title={t('plan_who', { n: checked.data.targets.length })}>{checked.data.targets.length === 0 ? t('plan_none') : <Targets rows={checked.data.targets} />}</Panel>
      )}
      <Group>
        <Button variant="default" onClick={check} loading={checked.isPending} disabled={jsonError !== undefined}>
          {t('check')}
        </Button>
        <Barred
          size="sm"
          variant="filled"
          barred={bar ?? (!isReady ? t('save_not_ready') : !checked.data ? t('save_unchecked') : undefined)}
          onClick={() => saved.mutate()}
          loading={saved.isPending}
        >
          {t('save')}
        </Barred>
        <Button variant="subtle" color="gray" onClick={drop}>
          {t('throw_away')}
        </Button>
      </Group>
      <Text size="xs" c="dimmed">
        {t('draft_kept')}
      </Text>
    </Stack>
  )
  return (
    <Stack>
      <Go to="/runners" size="sm">
        ← {t('runners')}
      </Go>
      <Title order={1} size="h3">
        {spec ? t('edit_title', { name }) : t('create')}
      </Title>
      <Tabs
        value={guided ? 'guide' : 'raw'}
        onChange={(tab) => {
          if (tab === 'raw' && said) keep({ draft: work.draft, raw: pretty(said) })
          if (tab === 'guide' && said) keep({ draft: draftOf(said), raw: undefined })
        }}
      >
        <Tabs.List mb="md">
          <Tabs.Tab value="guide" disabled={!guided && said === undefined}>
            {t('guide')}
          </Tabs.Tab>
          <Tabs.Tab value="raw">{t('raw_form')}</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="guide">
          {guided && (
            <Guide
              book={book}
              draft={work.draft}
              onChange={(draft) => keep({ draft, raw: undefined })}
              isNew={!spec}
              step={step}
              setStep={setStep}
              faults={problems}
              footer={footer}
              onCheck={check}
            />
          )}
        </Tabs.Panel>
        <Tabs.Panel value="raw">
          {!guided && (
            <Stack>
              <Textarea
                className="mono"
                label={t('spec')}
                autosize
                minRows={16}
                maxRows={34}
                spellCheck={false}
                value={work.raw ?? ''}
                onChange={(event) => keep({ draft: work.draft, raw: event.currentTarget.value })}
              />
              {footer}
            </Stack>
          )}
        </Tabs.Panel>
      </Tabs>
      {said && !bar && <Try spec={said} isWhole={isReady} shown={!guided || step === PARSE || step === CHECK} />}
    </Stack>
  )
}

/** A fault in words. */
const told = (fault: Fault, t: Words, language: Language) => t(fault.key, fault.key === 'needed' ? { what: fieldName(language, String(fault.values.what)) } : fault.values)

function useSaid(work: Work, book: Book): { spec: RunnerSpec | undefined; faults: Fault[]; jsonError: string | undefined } {
  const { t } = useWords()
  if (work.raw === undefined) return { ...specOf(work.draft, book), jsonError: undefined }
  try {
    const spec = JSON.parse(work.raw) as Json
    if (!isObject(spec)) return { spec: undefined, faults: [], jsonError: t('json_no_object') }
    return { spec: spec as unknown as RunnerSpec, faults: [], jsonError: undefined }
  } catch (error) {
    return { spec: undefined, faults: [], jsonError: error instanceof Error ? error.message : String(error) }
  }
}

interface GuideProps {
  book: Book
  draft: Draft
  onChange: (draft: Draft) => void
  isNew: boolean
  step: number
  setStep: (step: number) => void
  faults: { at: string; text: string }[]
  footer: ReactNode
  onCheck: () => void
}

/** Where a runner's parts are asked for; what is new to the console stands with what becomes of a line. */
const STEPS: Record<string, number> = { name: 0, reader: 0, sources: 0, senders: 2, placement: 3 }

function Guide({ book, draft, onChange, isNew, step, setStep, faults, footer, onCheck }: GuideProps) {
  const { t } = useWords()
  // Nobody is told of what he has not come to yet: faults show once a check was asked for.
  const [isTold, setTold] = useState(false)
  const fault = (at: string) => (isTold ? faults.find((fault) => fault.at === at)?.text : undefined)
  const members = Object.entries(book.runner.properties ?? {}).map(([key, schema]) => ({ key, schema, isNeeded: (book.runner.required ?? []).includes(key) }))
  const shown = (at: number) =>
    inOrder(members).filter((member) => (STEPS[member.key] ?? PARSE) === at && member.key !== 'name' && (member.key !== 'sources' || draft.spec.sources !== undefined || isMovable(isObject(draft.spec.reader) ? draft.spec.reader : undefined)))
  const name = (
    <TextInput
      label={t('name')}
      required
      value={typeof draft.spec.name === 'string' ? draft.spec.name : ''}
      error={fault('/name')}
      readOnly={!isNew}
      description={isNew ? undefined : t('name_fixed')}
      onChange={(event) => onChange(withValue(draft, '/name', event.currentTarget.value))}
    />
  )
  const titles = [t('step_source'), t('step_parse'), t('step_send'), t('step_place'), t('step_check')]
  const to = (next: number) => {
    if (next < CHECK) return setStep(next)
    setTold(true)
    onCheck()
  }
  return (
    <Stack>
      <Stepper active={step} onStepClick={to} size="xs" className="steps" wrap={false}>
        {titles.map((title) => (
          <Stepper.Step key={title} label={title} />
        ))}
      </Stepper>
      <div className="form">
        {step === CHECK ? (
          footer
        ) : (
          <Form value={{ book, draft, onChange, fault }}>
            <Stack key={step}>
              {step === 0 && name}
              {shown(step).map((member) => (
                <Value key={member.key} at={`/${member.key}`} schema={member.schema} isNeeded={member.isNeeded} />
              ))}
            </Stack>
          </Form>
        )}
      </div>
      <Group>
        {step > 0 && (
          <Button variant="default" onClick={() => to(step - 1)}>
            {t('back')}
          </Button>
        )}
        {step < CHECK && <Button onClick={() => to(step + 1)}>{t('next')}</Button>}
      </Group>
    </Stack>
  )
}

/** Readers before what they read, a line's parsing before its transform; what is new last. */
const FIRST = ['reader', 'sources', 'parse', 'transform']
const inOrder = <T extends { key: string }>(members: T[]): T[] => {
  const place = (member: T) => (FIRST.includes(member.key) ? FIRST.indexOf(member.key) : FIRST.length)
  return [...members].sort((a, b) => place(a) - place(b))
}
