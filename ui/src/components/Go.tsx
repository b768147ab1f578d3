import { Anchor, type AnchorProps, Button, type ButtonProps, NavLink, type NavLinkProps } from '@mantine/core'
import { createLink } from '@tanstack/react-router'
import type { AnchorHTMLAttributes, Ref } from 'react'

type Html = Omit<AnchorHTMLAttributes<HTMLAnchorElement>, keyof AnchorProps | 'style' | 'color'> & { ref?: Ref<HTMLAnchorElement> }

/** A link to a page of the console: underlined, as in the dark its colour is not far enough from the words around it (WCAG 1.4.1). */
export const Go = createLink((props: AnchorProps & Html) => <Anchor inherit underline="always" {...props} />)
export const GoButton = createLink((props: ButtonProps & Html) => <Button component="a" {...props} />)
export const GoNav = createLink((props: NavLinkProps & Html) => <NavLink component="a" {...props} />)
