import { render } from "preact";
import { App } from "./App";
import { loadBackground, loadWatches } from "./loading";
import "./styles.css";

// before anything is drawn: the server answers while the page is made
void loadWatches();
void loadBackground();
const root = document.getElementById("app");
if (root) render(<App />, root);
