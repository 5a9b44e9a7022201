"use strict";

// Goes on without waiting for the person, who has a button where no script runs.
document.getElementById("way-back").submit();
