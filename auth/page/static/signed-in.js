// Tells the pages that wait (session.js), and closes the window that they opened.
new BroadcastChannel("loginwall").postMessage("");
close();
