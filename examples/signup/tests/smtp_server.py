"""A real SMTP server, aiosmtpd, for tests/smtp.rs.

    python smtp_server.py FOLDER

It listens on a free port of 127.0.0.1, prints "listening on PORT", and writes each mail it takes to
FOLDER: first one line per recipient, then the mail as it came. It refuses nobody@.. permanently, and
later@.. the first time. It ends when its standard input does, so it never outlives the test.
"""

import asyncio
import os
import sys

from aiosmtpd.smtp import SMTP


class Folder:
    def __init__(self, path):
        self.path = path
        self.taken = 0
        self.put_off = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        if address.startswith("later@") and address not in self.put_off:
            self.put_off.add(address)
            return "451 come back later"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server, session, envelope):
        self.taken += 1
        recipients = "".join(f"{address}\n" for address in envelope.rcpt_tos).encode()
        file = os.path.join(self.path, f"{self.taken}.eml")
        # The file gets its name only once it is complete.
        with open(file + ".part", "wb") as part:
            part.write(recipients + b"\n" + envelope.original_content)
        os.rename(file + ".part", file)
        return "250 taken"


async def main():
    loop = asyncio.get_running_loop()
    folder = Folder(sys.argv[1])
    server = await loop.create_server(lambda: SMTP(folder, hostname="mail.test"), "127.0.0.1", 0)
    print("listening on", server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
