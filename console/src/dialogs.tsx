import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useContext, useId, useRef, useState } from "react";
import {
  type Connection,
  deleteEverything,
  deleteProject,
  disconnect,
  type Project,
} from "./api.ts";
import { Button } from "./button.tsx";
import { Say } from "./message.tsx";
import { goTo } from "./router.tsx";

export function Disconnect({ connection }: { connection: Connection }) {
  const title = connection.email ?? "this account";
  return (
    <Confirm
      label="Disconnect"
      about={title}
      title={`Disconnect ${title}?`}
      confirm="Disconnect"
      action={() => disconnect(connection.id)}
      done={`Daybook has let go of ${title}.`}
    >
      <p>
        Daybook revokes its access at Google, stops its notifications and deletes its tokens. What
        it has kept so far stays.
        {connection.is_sign_in && " You can still sign in with this account."}
      </p>
    </Confirm>
  );
}

/** Deletes a project for good, and goes back to the others. */
export function DeleteProject({ project: { id, name } }: { project: Project }) {
  const queries = useQueryClient();
  return (
    <Confirm
      label="Delete"
      title={`Delete ${name}?`}
      confirm="Delete it"
      action={() => deleteProject(id)}
      done={`${name} was deleted.`}
      onDone={() => {
        goTo("/projects");
        queries.removeQueries({ queryKey: ["projects", id] });
        for (const key of ["projects", "documents", "meetings"])
          void queries.invalidateQueries({ queryKey: [key] });
      }}
    >
      <p>
        What it is known by is deleted for good. Its documents and meetings stay, in no project.
      </p>
    </Confirm>
  );
}

export function DeleteEverything({ email }: { email: string }) {
  const [typed, setTyped] = useState("");
  const id = useId();
  return (
    <Confirm
      label="Delete everything"
      title="Delete everything?"
      confirm="Delete everything"
      action={deleteEverything}
      done="Everything of yours was deleted here, and Google is told to end the access."
      isReady={typed.trim().toLowerCase() === email.toLowerCase()}
      onOpen={() => setTyped("")}
    >
      <p>
        Every row of yours is deleted here, and access at Google is revoked. This cannot be undone.
      </p>
      <label htmlFor={id}>
        Type <strong>{email}</strong> to confirm
      </label>
      <input
        id={id}
        value={typed}
        onChange={(event) => setTyped(event.target.value)}
        autoComplete="off"
        autoCapitalize="none"
        spellCheck={false}
      />
    </Confirm>
  );
}

type ConfirmProps = {
  label: string;
  /** What tells this button from others of its name. */
  about?: string;
  title: string;
  confirm: string;
  action: () => Promise<unknown>;
  /** What to say afterwards. */
  done: string;
  isReady?: boolean;
  onOpen?: () => void;
  onDone?: () => void;
  children: ReactNode;
};

// The browser's own dialog: it keeps the focus inside, closes by Escape, and gives the focus back.
function Confirm(props: ConfirmProps) {
  const { label, about, title, confirm, action, done, isReady = true, children } = props;
  const dialog = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  const say = useContext(Say);
  const queries = useQueryClient();
  const acting = useMutation({
    mutationFn: action,
    onSuccess: async () => {
      dialog.current?.close();
      props.onDone?.();
      await queries.invalidateQueries({ queryKey: ["me"] });
      say({ tone: "good", text: done });
    },
  });
  const open = () => {
    acting.reset();
    props.onOpen?.();
    dialog.current?.showModal();
  };
  const cancel = () => dialog.current?.close();
  return (
    <>
      <Button
        className="danger"
        aria-label={about && `${label} ${about}`}
        isOff={acting.isPending}
        onClick={open}
      >
        {label}
      </Button>
      <dialog
        ref={dialog}
        aria-labelledby={titleId}
        // Once it is under way it is too late to change one's mind.
        onCancel={(event) => acting.isPending && event.preventDefault()}
      >
        <form
          onSubmit={(event) => {
            event.preventDefault();
            acting.mutate();
          }}
        >
          <h2 id={titleId}>{title}</h2>
          {children}
          {acting.isError && (
            <p className="notice warn" role="alert">
              {acting.error.message}
            </p>
          )}
          <div className="actions">
            <Button isOff={acting.isPending} onClick={cancel}>
              Cancel
            </Button>
            <Button
              type="submit"
              className="danger solid"
              disabled={!isReady}
              isOff={acting.isPending}
            >
              {acting.isPending ? "One moment …" : confirm}
            </Button>
          </div>
        </form>
      </dialog>
    </>
  );
}
