import { Component, type ReactNode } from "react";

/** Says so when a page broke while it was drawn, instead of leaving a white one. React asks for a class here. */
export class Boundary extends Component<{ children: ReactNode }, { hasFailed: boolean }> {
  override state = { hasFailed: false };

  static getDerivedStateFromError() {
    return { hasFailed: true };
  }

  override render() {
    if (!this.state.hasFailed) return this.props.children;
    return (
      <main className="door" id="main">
        <h1>This page broke</h1>
        <p role="alert">
          Something went wrong while it was drawn. Nothing of yours was changed by it.
        </p>
        <button type="button" className="primary" onClick={() => location.reload()}>
          Load it again
        </button>
      </main>
    );
  }
}
