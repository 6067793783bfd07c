document.body.textContent = "unface";
