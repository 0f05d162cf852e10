// The link over the navigation, which would put itself where the address says what is shown.
"use strict";
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("content").focus();
});
