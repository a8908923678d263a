-- Whose mailbox a mail was found in that was disconnected since, and Google's id of its account: should that user connect it
-- again, the mail can be read.
alter table mail_decisions add column left_user_id uuid references users (id) on delete set null;
alter table mail_decisions add column left_subject text;
create index mail_decisions_left on mail_decisions (left_user_id) where left_user_id is not null;
