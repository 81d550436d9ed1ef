create table if not exists profiles (user_id text primary key, name text not null);
