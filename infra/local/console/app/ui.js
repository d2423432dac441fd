// The libraries, bound once, so that the rest imports them from one place.

import htm from "../vendor/htm/htm.mjs";
import { h } from "../vendor/preact/preact.mjs";

export { Component, Fragment, h, render } from "../vendor/preact/preact.mjs";
export { useEffect, useLayoutEffect, useRef, useState } from "../vendor/preact/hooks.mjs";

export const html = htm.bind(h);
