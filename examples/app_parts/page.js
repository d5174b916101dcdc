<script>
// A button with data-time lets the player go there; while it plays, the clip that is shown is marked.
(() => {
  const player = () => document.querySelector("#player video");
  const goTo = (time) => {
    const video = player();
    if (video) video.currentTime = time;
    return video;
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-time]");
    const video = button && goTo(Number(button.dataset.time));
    if (video) video.play().catch(() => {});
  });
  document.addEventListener("timeupdate", (event) => {
    if (event.target !== player()) return;
    let now = null;
    for (const clip of document.querySelectorAll(".vb-clips button")) {
      clip.removeAttribute("aria-current");
      if (Number(clip.dataset.time) <= event.target.currentTime) now = clip;
    }
    if (now) now.setAttribute("aria-current", "time");
  }, true);
  window.goToFirstMoment = () => {
    const first = document.querySelector("#found [data-time]");
    if (first) goTo(Number(first.dataset.time));
  };
})();
</script>
