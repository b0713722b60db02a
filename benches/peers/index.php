<?php
// PHP under php-fpm, the job as what follows `fastcgi_finish_request`: the child that answered does it, and answers
// nobody meanwhile.
header('content-type: text/plain');
echo 'hello';
fastcgi_finish_request();
usleep(1000 * (int) getenv('JOB_MS'));
