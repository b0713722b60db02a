<?php
// PHP under php-fpm, with the job as the code after `fastcgi_finish_request`. The child that answered runs it, and answers no
// other request meanwhile.
header('content-type: text/plain');
echo 'hello';
fastcgi_finish_request();
usleep(1000 * (int) getenv('JOB_MS'));
